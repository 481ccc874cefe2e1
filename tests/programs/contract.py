"""Declares every kind of object and checks, in every iteration and on every rank, that all is where and what it should be.

Ends in the iteration after the file ``--until`` appears. Every rank prints a line when it unwinds, rank 0 another at the end.
"""

from __future__ import annotations

import argparse
import inspect
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

import flexmpi
from flexmpi.runtime.joining import ahead

parser = argparse.ArgumentParser()
parser.add_argument("--until", type=Path, required=True)
parser.add_argument("--pause", type=float, default=0.001)
parser.add_argument("--ahead", action="store_true", help="move constant data ahead, however little it is")
options = parser.parse_args()
if options.ahead:
    ahead.SMALLEST_BYTES = 1
    ahead.PIECE_BYTES = 100

ROWS, COSTED, COUNTED = 300, 90, 17
LENGTHS = np.where(np.arange(ROWS) % 3 == 0, 8, np.where(np.arange(ROWS) < 100, 4, 1))
COSTS = np.linspace(0.0, 5.0, COSTED)


def sparse_rows(rows: range) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return the true rows of the matrix that is shared by non-zeros; row ``i`` has ``LENGTHS[i]`` of them."""
    lengths = LENGTHS[rows.start : rows.stop]
    starts = np.concatenate([[0], np.cumsum(lengths)])
    places = np.arange(starts[-1]) - np.repeat(starts[:-1], lengths)
    numbers = np.repeat(np.arange(rows.start, rows.stop), lengths)
    return starts, (numbers + places) % ROWS, numbers + places / 10


def one_a_row(rows: range) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return rows with one element, on the diagonal: the row's number."""
    return np.arange(len(rows) + 1), np.arange(rows.start, rows.stop), np.array(rows, dtype=float)


class Data:
    """The objects, and what must be true of them before iteration ``i``."""

    def __init__(self, flex: flexmpi.Session) -> None:
        self.flex = flex
        self.matrix = flex.array("matrix", (ROWS, 3), constant=True)
        self.sparse = flex.csr("sparse", (ROWS, ROWS), constant=True)
        self.counters = flex.array("counters", (ROWS,), np.int64)
        self.costed = flex.csr("costed", (COSTED, COSTED), row_cost=COSTS)
        self.counted = flex.csr("counted", (COUNTED, COUNTED), balance="rows")
        self.table = flex.replicated("table", (7,), np.int32)
        self.state = flex.state(iterations=0, steps=[0])
        self.steps, self.last = self.state.steps, -1
        self.resized, self.changes = False, 0
        flex.on_resize(self.note)
        if flex.starting:
            self.matrix.local[:] = np.array(self.matrix.rows)[:, None]
            self.sparse.assign(*sparse_rows(self.sparse.rows))
            self.costed.assign(*one_a_row(self.costed.rows))
            self.counted.assign(*one_a_row(self.counted.rows))
            self.counters.local[:] = self.counters.rows
            self.table.local[:] = np.arange(7)
        else:
            assert not len(self.counters.local) and not len(self.sparse.data) and not len(self.counters.counts)
        self.before = self.present()

    def present(self) -> tuple[Any, ...]:
        return self.flex.rank, self.flex.size, self.counters.rows, self.costed.rows

    def note(self, session: flexmpi.Session) -> None:
        assert session is self.flex
        self.resized, self.changes = True, self.changes + 1

    def check(self, iteration: int) -> None:
        rows = self.counters.rows
        assert (self.matrix.local == np.arange(rows.start, rows.stop)[:, None]).all() and self.matrix.rows == rows
        assert (self.counters.local == np.arange(rows.start, rows.stop) + iteration).all(), (rows, self.counters.local)
        for matrix, truth in ((self.sparse, sparse_rows), (self.costed, one_a_row), (self.counted, one_a_row)):
            expected = truth(matrix.rows)
            for found, wanted in zip((matrix.indptr, matrix.indices, matrix.data), expected, strict=True):
                assert found.shape == wanted.shape and (found == wanted).all(), (matrix, found, wanted)
        assert (self.table.local == np.arange(7) + iteration).all(), self.table.local
        assert (self.state.iterations, self.state.steps) == (iteration, [iteration])
        assert self.resized or self.present() == self.before, (self.before, self.present())
        if self.resized:
            self.check_shares()
        stayed = iteration == self.last + 1
        assert self.state.steps is self.steps or not stayed, "a rank that stays keeps the objects of its state"
        self.steps, self.last = self.state.steps, iteration
        self.resized, self.before = False, self.present()

    def check_shares(self) -> None:
        """Check what each rank holds of all, up to a row; nodes are of the same speed here."""
        comm, total = self.flex.comm, LENGTHS.sum() / self.flex.size
        assert [row for rows in comm.allgather(self.counters.rows) for row in rows] == list(range(ROWS))
        assert abs(len(self.sparse.data) - total) <= 8, (len(self.sparse.data), total)
        cost = COSTS[self.costed.rows.start : self.costed.rows.stop].sum()
        assert abs(cost - COSTS.sum() / comm.size) <= 5.0, (cost, self.costed)
        assert abs(len(self.counted.rows) - COUNTED / comm.size) < 1
        # Left to the session to free, of several kinds, on all ranks or some.
        comm.Split(comm.rank % 2).Dup()
        comm.Create_group(comm.Get_group().Incl([0]), tag=1) if comm.rank == 0 else None
        comm.Create_cart([comm.size]).Sub([True])

    def advance(self) -> None:
        self.counters.local += 1
        self.table.local += 1
        self.state.iterations += 1
        self.state.steps[0] += 1


def stale_blocks_are_read_only(old: NDArray[np.int64], new: NDArray[np.int64]) -> None:
    if old is not new and len(old):
        try:
            old[0] = 1
        except ValueError:
            return
        raise AssertionError("a block that has been replaced must be read-only")


try:
    with flexmpi.session() as flex:
        data, depth = Data(flex), 0
        for iteration in flex.iterate(10_000_000):
            here = len(inspect.stack(0))
            assert here == (depth or here), "the stack must not grow"
            if depth:
                stale_blocks_are_read_only(block, data.counters.local)  # noqa: F821 - of the iteration before
            depth, block = here, data.counters.local
            data.check(iteration)
            data.advance()
            assert flex.comm.allreduce(iteration, MPI.MIN) == iteration
            if flex.comm.bcast(options.until.exists()):
                flex.stop()
            time.sleep(options.pause)
        if flex.rank == 0:
            print(
                f"all was right for {data.state.iterations} iterations, {data.changes} changes seen by the last rank 0"
            )
finally:
    if sys.exc_info()[0] is flexmpi.RankLeaves:
        assert (flex.rank, flex.size) == (MPI.PROC_NULL, 0), "a rank that has left must not take itself for rank 0"
    elif sys.exc_info()[0] is None:
        assert 0 <= flex.rank < flex.size, "after its session a rank keeps its last number"
    print(f"unwound: pid {os.getpid()}")
