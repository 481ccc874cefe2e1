"""Holds the session to its contract with a program that has the ranks it was given: plain ``python`` or ``mpiexec``.

Rank 0 prints, as each case ends, its name and what went wrong on any rank ("" if nothing). Not a test itself.
"""

from __future__ import annotations

import json
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from mpi4py import MPI

import flexmpi
from flexmpi import Session, UsageError

world = MPI.COMM_WORLD
CASES: list[Callable[[Session], None]] = []


def case(check: Callable[[Session], None]) -> Callable[[Session], None]:
    CASES.append(check)
    return check


def refused(call: Callable[[], Any], *words: str) -> None:
    """Check that a call raises a UsageError of one line with these words."""
    try:
        call()
    except UsageError as error:
        assert all(word in str(error) for word in words) and "\n" not in str(error), (str(error), words)
    else:
        raise AssertionError(f"must be refused, saying {words}")


@case
def all_ranks_start(flex: Session) -> None:
    assert flex.starting
    assert (flex.rank, flex.size) == (world.rank, world.size) == (flex.comm.rank, flex.comm.size)
    assert MPI.Comm.Compare(flex.comm, world) == MPI.CONGRUENT


@case
def an_array_is_distributed_by_rows(flex: Session) -> None:
    a = flex.array("a", (10, 3))
    assert (a.local.dtype, a.local.shape) == (np.float64, (len(a.rows), 3))
    assert not a.local.any() and not a.constant
    assert a.counts.sum() == 10 and a.counts.max() - a.counts.min() <= 1
    assert a.rows == range(a.offsets[flex.rank], a.offsets[flex.rank + 1])
    assert len(a.counts) == flex.size and a.offsets[-1] == 10
    assert [row for rows in flex.comm.allgather(a.rows) for row in rows] == list(range(10))
    v = flex.array("v", 10, np.int32, constant=True)
    assert (v.local.dtype, v.shape, v.rows, v.constant) == (np.int32, (10,), a.rows, True)
    v.local += 1
    assert (v.local == 1).all()
    refused(lambda: setattr(v, "local", np.zeros(len(v.rows))), "'v'.local cannot be replaced")
    assert flex.array("none", (0,)).rows == range(0)


@case
def a_sparse_matrix_keeps_what_it_is_assigned(flex: Session) -> None:
    m = flex.csr("m", (6, 4), np.float32)
    assert (m.indptr.shape, m.indices.shape, m.data.shape) == ((len(m.rows) + 1,), (0,), (0,))
    indptr, indices = np.arange(len(m.rows) + 1), np.zeros(len(m.rows), np.int32)
    m.assign(indptr, indices, np.ones(len(m.rows), np.float32))
    assert m.indices is indices and m.data.dtype == np.float32
    assert m.data.sum() == len(m.rows)
    refused(lambda: m.assign([0], [], []) if len(m.rows) else m.assign([0, 1], [0], [1]), "'m': indptr")


@case
def rows_are_shared_by_nonzeros_when_the_loop_begins(flex: Session) -> None:
    n = 120
    lengths = np.where(np.arange(n) < 20, 15, 1)
    resized: list[range] = []
    flex.on_resize(lambda session: resized.append(vector.rows))
    matrix, vector = flex.csr("by nonzeros", (n, n)), flex.array("follows", (n,))
    held, old = lengths[matrix.rows.start : matrix.rows.stop], vector.local
    starts = np.concatenate([[0], np.cumsum(held)])
    matrix.assign(starts, np.concatenate([np.arange(k) for k in held]), np.repeat(matrix.rows, held).astype(float))
    vector.local[:] = vector.rows
    for _ in flex.iterate(1):
        nonzeros = flex.comm.allgather(len(matrix.data))
        assert max(nonzeros) - min(nonzeros) <= 15, nonzeros
        assert (matrix.data == np.repeat(matrix.rows, np.diff(matrix.indptr))).all()
        assert (vector.local == vector.rows).all()
        if flex.size > 1:
            assert resized == [vector.rows]
            assert vector.local is not old
            try:
                old[:] = 0
            except ValueError as error:
                assert "read-only" in str(error)
            else:
                raise AssertionError("an old block must be read-only")


@case
def rows_are_shared_by_a_declared_cost_at_once(flex: Session) -> None:
    cost = np.where(np.arange(90) < 10, 8.0, 1.0)
    m = flex.csr("by cost", (90, 2), row_cost=cost, constant=True)
    shares = flex.comm.allgather(float(cost[m.rows.start : m.rows.stop].sum()))
    assert max(shares) - min(shares) <= 8.0, shares
    refused(lambda: flex.csr("c1", (5, 2), row_cost=[1, 1, 1]), "'c1'", "shape (5,)")
    refused(lambda: flex.csr("c2", (5, 2), row_cost=[1, 1, 1, 1, -1]), "'c2'", "not negative")
    refused(lambda: flex.csr("c3", (5, 2), row_cost=[1, 1, 1, 1, np.nan]), "'c3'", "finite")
    refused(lambda: flex.csr("c4", (5, 2), row_cost=["a"] * 5), "'c4'", "numbers")
    refused(lambda: flex.csr("c5", (5, 2), row_cost=[1] * 5, balance="rows"), "'c5'", "balance='rows'")
    refused(lambda: flex.csr("c6", (5, 2), balance="columns"), "'c6'", "'columns'")
    refused(lambda: flex.csr("c7", (5,)), "'c7'", "(rows, columns)")


@case
def replicated_data_and_state_are_whole_on_every_rank(flex: Session) -> None:
    table = flex.replicated("table", (3, 2), np.int64)
    assert table.local.shape == (3, 2) and not table.local.any() and table.local.dtype == np.int64
    table.local[...] = 1
    state = flex.state(value=np.inf, steps=[])
    state.steps.append(1)
    state.later = "new"
    assert (state.value, state.steps, state.later) == (np.inf, [1], "new")
    try:
        print(state.missing)
    except AttributeError as error:
        assert "later, steps, value" in str(error)
    refused(lambda: flex.state(descriptor=1), "'descriptor'")


@case
def a_name_is_used_once(flex: Session) -> None:
    flex.array("taken", (3,))
    refused(lambda: flex.array("taken", (3,)), "'taken' exists already")
    refused(lambda: flex.csr("taken", (3, 3)), "'taken' exists already")
    refused(lambda: flex.replicated("taken", (3,)), "'taken' exists already")
    refused(lambda: flex.array("", (3,)), "text")
    refused(lambda: flex.array(3, (3,)), "text")  # type: ignore[arg-type]
    flex.state(taken=1)
    flex.array("state 0", (3,))


@case
def a_shape_or_type_that_means_nothing_is_refused(flex: Session) -> None:
    for number, shape in enumerate([(), (-1,), (2, -1), (2.5,), "ab", "12", None, (3, None)]):
        refused(lambda: flex.array(f"s{number}", shape), f"'s{number}'", "shape")  # noqa: B023 - called at once
    refused(lambda: flex.array("objects", (3,), object), "'objects'", "Python objects")
    refused(lambda: flex.replicated("letters", (3,), "no type"), "'letters'", "numpy type")


@case
def a_loop_counts_and_ends_by_break_or_stop(flex: Session) -> None:
    assert list(flex.iterate(3)) == [0, 1, 2]
    assert list(flex.iterate(0)) == []
    seen = []
    for iteration in flex.iterate(10):
        if iteration == 4:
            break
        seen.append(iteration)
    for iteration in flex.iterate(10):
        if iteration == 2:
            flex.stop()
        seen.append(iteration)
    assert seen == [0, 1, 2, 3, 0, 1, 2]
    assert list(flex.iterate(2)) == [0, 1], "stop() must not reach the next loop"


@case
def a_loop_inside_a_loop_is_refused(flex: Session) -> None:
    for _ in flex.iterate(2):
        refused(lambda: next(iter(flex.iterate(2))), "do not nest")
    refused(flex.stop, "none is running")
    for maximum in (-1, 2.0, "3", None):
        refused(lambda: next(iter(flex.iterate(maximum))), "number of iterations")  # type: ignore[arg-type]  # noqa: B023


@case
def input_and_output_are_timed(flex: Session) -> None:
    before, start = flex._clock.io_s, perf_counter()
    with flex.io(size_bytes=8):
        inside = perf_counter()
        while perf_counter() - inside < 0.01:
            pass
    try:
        with flex.io():
            raise KeyError
    except KeyError:
        pass
    assert 0.01 <= flex._clock.io_s - before <= perf_counter() - start


@case
def outputs_and_what_is_exclusive_are_opened_at_once(flex: Session) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"of rank {flex.rank}"
        path.write_text("of an earlier run")
        with flex.output(path) as table, flex.exclusive(path.open) as held:
            print("header", file=table)
            for iteration in flex.iterate(2):
                print(iteration, file=table)
                table.flush()
                assert held.value.readline() == ("header\n" if iteration == 0 else "0\n")
            reading = held.value
        assert reading.closed and table.closed
        with flex.output(path, "ab", buffering=0) as raw:
            raw.write(b"end")
        assert path.read_text() == "header\n0\n1\nend"
    refused(lambda: flex.output(path, "r"), "flex.output", "'r'")


@case
def the_communicator_is_an_intracomm_that_times_its_calls(flex: Session) -> None:
    comm, clock = flex.comm, flex._clock
    # As petsc4py looks at it, and C code.
    assert type(comm) is MPI.Intracomm and type(comm).__module__ == "mpi4py.MPI"
    total, before = np.empty(1), clock.communication_s
    comm.Allreduce(np.ones(1), total)
    assert total[0] == comm.allreduce(1) == flex.size
    assert clock.communication_s > before
    right, left = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    received = np.empty(3)
    requests = [comm.Irecv(received, left), comm.Isend(np.full(3, float(comm.rank)), right)]
    later = comm.isend({"from": comm.rank}, right, tag=1), comm.irecv(source=left, tag=1)
    for request in (*requests, *later, comm.Ibarrier()):
        before = clock.communication_s
        answer = request.wait()
        assert clock.communication_s > before, request
        if request is later[1]:
            assert answer == {"from": left}
    assert (received == left).all()
    before = clock.communication_s
    MPI.Request.Waitall([comm.Ibarrier(), comm.Ibarrier()])
    assert clock.communication_s > before


@case
def a_class_of_the_programs_own_is_asked_once_for_each_call(flex: Session) -> None:
    class Counted(MPI.Intracomm):
        calls = 0

        def bcast(self, obj: Any, root: int = 0) -> Any:
            self.calls += 1
            return super().bcast(obj, root)

    own = Counted(flex.comm.Dup())
    assert [own.bcast(7), own.bcast(8)] == [7, 8]
    assert own.calls == 2
    own.Free()


@case
def communicators_made_from_it_are_timed_too(flex: Session) -> None:
    comm, clock = flex.comm, flex._clock
    group = comm.Get_group()
    duplicate, request = comm.Idup()
    request.Wait()
    made = [
        duplicate,
        comm.Dup(),
        comm.Clone(),
        comm.Split(comm.rank % 2, comm.rank),
        comm.Split_type(MPI.COMM_TYPE_SHARED),
        comm.Create(group),
        comm.Create_group(group),
        comm.Split(0).Dup(),
    ]
    for derived in made:
        assert type(derived) is type(comm), derived
        before = clock.communication_s
        derived.Barrier()
        assert clock.communication_s > before, derived
    assert comm.Split(MPI.UNDEFINED if comm.rank == 0 else 0) == MPI.COMM_NULL or comm.rank != 0
    made[0].Free()
    assert made[0] == MPI.COMM_NULL
    cart = comm.Create_cart([comm.size])
    assert isinstance(cart, MPI.Cartcomm)
    cart.Sub([True]).Barrier()


def run(check: Callable[[Session], None], flex: Session) -> None:
    try:
        check(flex)
        problem = ""
    except Exception:
        problem = f"rank {world.rank}: {traceback.format_exc()}"
        print(problem, file=sys.stderr, flush=True)  # at once, for the others may wait for this rank for ever
    problems = list(filter(None, world.allgather(problem)))
    if world.rank == 0:
        print(json.dumps([check.__name__, "\n".join(problems)]), flush=True)


if __name__ == "__main__":
    with flexmpi.session() as flex:
        refused(flexmpi.session, "open already")
        for check in CASES:
            run(check, flex)
        last, derived = flex.comm, flex.comm.Dup()
    assert last == derived == MPI.COMM_NULL, "communicators end with their session"
    for wrong in (0, "soon", "0s"):
        try:
            flexmpi.session(interval=wrong)
        except flexmpi.FlexMPIError as error:
            assert "interval" in str(error)
        else:
            sys.exit(f"interval {wrong!r} must be refused")
    with flexmpi.session(interval=10) as flex:
        assert [iteration for iteration in flex.iterate(3) if flex.starting] == [0, 1, 2]
    if world.rank == 0:
        print(json.dumps(["sessions_follow_each_other", ""]))
