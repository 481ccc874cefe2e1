"""Declares every kind of object, and checks in every world and iteration that all is as a program that hands over may expect.

Ends in the iteration after the file ``--until`` appears. Every rank prints a line when it unwinds, rank 0 another at the end.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

import flexmpi
from flexmpi.errors import UsageError
from flexmpi.runtime.arrays import process_memory

parser = argparse.ArgumentParser()
parser.add_argument("--until", type=Path, required=True)
parser.add_argument("--pause", type=float, default=0.001)
parser.add_argument("--any-shares", action="store_true", help="do not check how rows are shared")
parser.add_argument("--long-state", action="store_true", help="have a state that is too long for a message")
parser.add_argument("--unread", action="store_true", help="have the kernel refuse to read another process's memory")
options = parser.parse_args()
refusals: list[int] = []


def refuse(pid: int, *arguments: object) -> int:
    """Refuse to copy, as the kernel does."""
    refusals.append(pid)
    return -1


if options.unread:
    process_memory._calls = lambda: (refuse, refuse)  # type: ignore[assignment]

ROWS, COSTED, COUNTED, EMPTY = 300, 90, 17, 1
PADDING = "0123456789" * (1000 if options.long_state else 1)
LENGTHS = np.where(np.arange(ROWS) % 3 == 0, 8, np.where(np.arange(ROWS) < 100, 4, 1))
COSTS = np.linspace(0.0, 5.0, COSTED)


def sparse_rows(rows: range, *, more: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]:
    """Return the true rows of the matrix that is shared by non-zeros; row ``i`` has ``LENGTHS[i]`` of them."""
    lengths = LENGTHS[rows.start : rows.stop] + more
    starts = np.concatenate([[0], np.cumsum(lengths)])
    places = np.arange(starts[-1]) - np.repeat(starts[:-1], lengths)
    numbers = np.repeat(np.arange(rows.start, rows.stop), lengths)
    return starts, ((numbers + places) % ROWS).astype(np.int32), numbers + places / 10


def one_a_row(rows: range) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return rows with one element, on the diagonal: the row's number."""
    return np.arange(len(rows) + 1), np.arange(rows.start, rows.stop), np.array(rows, dtype=float)


def refused(touch: Callable[[], object]) -> bool:
    """Whether data is said not to be here yet."""
    try:
        touch()
    except UsageError as error:
        return "is not here yet" in str(error)
    return False


class Data:
    """The objects, and what must be true of them before iteration ``i``."""

    def __init__(self, flex: flexmpi.Session) -> None:
        self.flex = flex
        self.matrix = flex.array("matrix", (ROWS, 3), constant=True)
        self.sparse = flex.csr("sparse", (ROWS, ROWS), constant=True)
        self.counters = flex.array("counters", (ROWS,), np.int64)
        self.costed = flex.csr("costed", (COSTED, COSTED), row_cost=COSTS)
        self.counted = flex.csr("counted", (COUNTED, COUNTED), balance="rows")
        self.changing = flex.csr("changing", (ROWS, ROWS), balance="rows")
        self.row = flex.array("row", (EMPTY, 2))
        self.table = flex.replicated("table", (7,), np.int32)
        self.state = flex.state(iterations=0, steps=[0], padding=PADDING)
        if flex.starting:
            self.matrix.local[:] = np.array(self.matrix.rows)[:, None]
            self.sparse.assign(*sparse_rows(self.sparse.rows))
            self.costed.assign(*one_a_row(self.costed.rows))
            self.counted.assign(*one_a_row(self.counted.rows))
            self.changing.assign(*sparse_rows(self.changing.rows))
            self.counters.local[:] = self.counters.rows
            self.row.local[:] = 1.5
            self.table.local[:] = np.arange(7)
        else:
            self.check_constants()
            self.check_what_is_not_here()
            assert bool(MPI.COMM_WORLD.allreduce(len(refusals))) == options.unread, "refused where it was tried"
        self.world: tuple[int, int, range] | None = None

    def check_constants(self) -> None:
        """What never changes is here as soon as it is declared, to be read."""
        rows = self.matrix.rows
        assert (self.matrix.local == np.arange(rows.start, rows.stop)[:, None]).all()
        assert not self.matrix.local.flags.writeable and not self.sparse.data.flags.writeable
        self.check_matrix(self.sparse, sparse_rows(self.sparse.rows))

    def check_what_is_not_here(self) -> None:
        assert (
            refused(lambda: self.counters.local)
            and refused(lambda: self.costed.data)
            and refused(lambda: self.row.local)
        )
        assert refused(lambda: self.costed.assign([0], [], [])) and refused(lambda: self.table.local)
        assert refused(lambda: self.state.iterations) and refused(lambda: setattr(self.state, "iterations", 1))

    @staticmethod
    def check_matrix(matrix: flexmpi.DistributedCSR, expected: tuple[NDArray[np.generic], ...]) -> None:
        for found, wanted in zip((matrix.indptr, matrix.indices, matrix.data), expected, strict=True):
            assert found.shape == wanted.shape and (found == wanted).all(), (matrix, found, wanted)

    def check(self, iteration: int) -> None:
        flex, rows = self.flex, self.counters.rows
        assert (self.matrix.local == np.arange(rows.start, rows.stop)[:, None]).all() and self.matrix.rows == rows
        assert (self.counters.local == np.arange(rows.start, rows.stop) + iteration).all(), (rows, self.counters.local)
        self.check_matrix(self.sparse, sparse_rows(self.sparse.rows))
        self.check_matrix(self.costed, one_a_row(self.costed.rows))
        self.check_matrix(self.counted, one_a_row(self.counted.rows))
        self.check_matrix(self.changing, sparse_rows(self.changing.rows, more=iteration // 10 % 3))
        assert (self.row.local == 1.5 + iteration).all()
        assert (self.table.local == np.arange(7) + iteration).all(), self.table.local
        assert (self.state.iterations, self.state.steps) == (iteration, [iteration])
        assert self.state.padding == PADDING
        world = flex.rank, flex.size, rows
        assert self.world in (None, world), "nothing changes under a world's feet"
        assert (MPI.COMM_WORLD.rank, MPI.COMM_WORLD.size) == world[:2]
        if self.world is None and not options.any_shares:
            self.check_shares()
        self.world = world

    def check_shares(self) -> None:
        """Check what each rank holds of all, up to a row; nodes are of the same speed here."""
        comm, total = MPI.COMM_WORLD, LENGTHS.sum() / self.flex.size
        assert [row for rows in comm.allgather(self.counters.rows) for row in rows] == list(range(ROWS))
        assert abs(len(self.sparse.data) - total) <= 8, (len(self.sparse.data), total)
        cost = COSTS[self.costed.rows.start : self.costed.rows.stop].sum()
        assert abs(cost - COSTS.sum() / comm.size) <= 5.0, (cost, self.costed)
        assert abs(len(self.counted.rows) - COUNTED / comm.size) < 1

    def advance(self, iteration: int) -> None:
        self.counters.local += 1
        self.row.local += 1
        self.table.local += 1
        self.state.iterations += 1
        self.state.steps[0] += 1
        if (iteration + 1) % 10 == 0:
            self.changing.assign(*sparse_rows(self.changing.rows, more=(iteration + 1) // 10 % 3))


try:
    with flexmpi.session() as flex:
        data = Data(flex)
        for iteration in flex.iterate(10_000_000):
            data.check(iteration)
            data.advance(iteration)
            assert flex.comm.allreduce(iteration, MPI.MIN) == iteration
            if MPI.COMM_WORLD.bcast(options.until.exists()):
                flex.stop()
            time.sleep(options.pause)
        if flex.rank == 0:
            print(f"all was right for {data.state.iterations} iterations")
finally:
    if sys.exc_info()[0] is flexmpi.RankLeaves:
        assert MPI.COMM_WORLD.allreduce(1) == flex.comm.allreduce(1) == flex.size, "its world is intact"
    print(f"unwound: pid {os.getpid()}")
