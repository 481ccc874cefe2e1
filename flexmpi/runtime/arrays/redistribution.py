"""Moves the data of distributed objects from one distribution to another, and gives newcomers what is replicated.

Collective over the transition communicator, which holds all old and all new owners of rows: every rank calls the same
functions for the same objects in the same order. Who gets which rows is decided in ``sharing``.
"""

from __future__ import annotations

import pickle
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from flexmpi.errors import UsageError
from flexmpi.runtime.arrays import crossmemory
from flexmpi.runtime.arrays.crossmemory import CrossMemoryCopies
from flexmpi.runtime.arrays.dense import DistributedArray, DistributedCSR, ReplicatedArray, State
from flexmpi.runtime.arrays.distribution import Distribution, OverlapPlan, overlap_plan
from flexmpi.runtime.arrays.runs import bytes_of, pieces


def move_object(
    obj: DistributedArray | DistributedCSR, comm: MPI.Intracomm, old: Distribution, new: Distribution, rank: int
) -> int:
    """Move the rows of one object; collective.

    Rows go straight from the old block into the new one; those that stay are not copied where both lie in one reservation
    (see ``reservation``), and no rank holds more than the two blocks anywhere. The old block becomes read-only when a new one
    replaces it, and what it shows is undefined then; a rank whose rows stay the same keeps its block. The row space is not
    touched: the caller sets it when all objects in it have moved.

    Parameters
    ----------
    obj
        The object, whose block holds the rows of ``old``.
    comm
        The transition communicator.
    old, new
        Distributions over its ranks.
    rank
        This rank in it.

    Returns
    -------
    int
        Bytes that this rank received from other ranks.

    Raises
    ------
    UsageError
        On every rank, if only some of the ranks that hold rows assigned a ``row_cost``.
    mpi4py.MPI.Exception
        If an MPI call fails.
    """
    plan = overlap_plan(old, new, rank)
    ends = _Ends(old.interval(rank), new.interval(rank))
    if isinstance(obj, DistributedCSR):
        return _move_csr(obj, comm, plan, ends, new)
    moves = _row_moves(plan, ends)
    if ends.same:
        return 0
    block = obj.block(ends.new)
    received_bytes = _exchange(comm, moves, obj.local, block, in_place=obj.in_place)
    obj.adopt(block, ends.new)
    return received_bytes


def broadcast_replicated(obj: ReplicatedArray, comm: MPI.Intracomm, *, root: int = 0) -> None:
    """Copy the array of ``root`` to every rank, into the arrays that are there; collective."""
    for piece in pieces(bytes_of(obj.local)):
        comm.Bcast([piece, MPI.BYTE], root=root)


def broadcast_state(states: Sequence[State], comm: MPI.Intracomm, *, newcomers: Collection[int], root: int = 0) -> None:
    """Give newcomers the values that rank ``root`` has of all states; collective.

    Parameters
    ----------
    states
        The same states in the same order on every rank.
    comm
        The transition communicator.
    newcomers
        The ranks that take the values; the others keep their own objects, to which the program may refer.

    Raises
    ------
    UsageError
        On every rank, if a value of ``root`` cannot be pickled.
    """
    values, problem = comm.bcast(pickled(states) if comm.rank == root else None, root=root)
    if problem:
        raise UsageError(problem)
    if comm.rank not in newcomers:
        return
    for state, received in zip(states, pickle.loads(values), strict=True):
        vars(state).clear()
        vars(state).update(received)


@dataclass(frozen=True)
class RowSizes:
    """How many bytes local rows of an object take when they move: so many each, and so many for each of their non-zeros."""

    row_bytes: int
    nonzero_bytes: int = 0
    starts: NDArray[np.int64] | None = None

    def of(self, start: int, stop: int) -> int:
        """Return the bytes of some local rows together."""
        nonzeros = 0 if self.starts is None else int(self.starts[stop] - self.starts[start])
        return self.row_bytes * (stop - start) + self.nonzero_bytes * nonzeros


def row_sizes(obj: DistributedArray | DistributedCSR, comm: MPI.Intracomm) -> RowSizes:
    """Return what the rows of an object take when `move_object` moves them; collective."""
    if isinstance(obj, DistributedArray):
        return RowSizes(obj.row_bytes)
    facts = agree_on_csr(obj, comm, holds_rows=bool(obj.rows))
    length_bytes = cost_bytes = 8
    return RowSizes(
        length_bytes + cost_bytes * facts.costs_move, facts.index_type.itemsize + obj.dtype.itemsize, obj.indptr
    )


@dataclass(frozen=True)
class _Ends:
    """The global rows of this rank before and after."""

    old: range
    new: range

    @property
    def same(self) -> bool:
        return self.old == self.new


@dataclass(frozen=True)
class _Moves:
    """A plan in positions along the first axis of this rank's blocks: (the other rank, start, stop)."""

    keep_from: slice
    keep_to: slice
    sends: tuple[tuple[int, int, int], ...]
    receives: tuple[tuple[int, int, int], ...]


def _row_moves(plan: OverlapPlan, ends: _Ends) -> _Moves:
    """Express a plan in local rows."""
    old, new, keep = ends.old.start, ends.new.start, plan.keep
    return _Moves(
        keep_from=slice(keep.start - old, keep.stop - old) if keep else slice(0, 0),
        keep_to=slice(keep.start - new, keep.stop - new) if keep else slice(0, 0),
        sends=tuple((peer, rows.start - old, rows.stop - old) for peer, rows in plan.sends),
        receives=tuple((peer, rows.start - new, rows.stop - new) for peer, rows in plan.receives),
    )


def _element_moves(moves: _Moves, *, old_starts: NDArray[np.int64], new_starts: NDArray[np.int64]) -> _Moves:
    """Express moves of local rows in elements, where row ``i`` starts at element ``starts[i]``."""

    def stretch(rows: slice, starts: NDArray[np.int64]) -> slice:
        return slice(int(starts[rows.start]), int(starts[rows.stop]))

    return _Moves(
        keep_from=stretch(moves.keep_from, old_starts),
        keep_to=stretch(moves.keep_to, new_starts),
        sends=tuple((peer, int(old_starts[start]), int(old_starts[stop])) for peer, start, stop in moves.sends),
        receives=tuple((peer, int(new_starts[start]), int(new_starts[stop])) for peer, start, stop in moves.receives),
    )


def _move_csr(obj: DistributedCSR, comm: MPI.Intracomm, plan: OverlapPlan, ends: _Ends, new: Distribution) -> int:
    """Move a sparse matrix: the lengths of the rows first, then their non-zeros."""
    facts = agree_on_csr(obj, comm, holds_rows=bool(ends.old))
    if facts.costs_lack:
        raise UsageError(f"{obj.name!r}: row_cost was assigned by some ranks only, expected by all that hold rows")
    firsts = first_nonzeros(obj, comm, facts, old=ends.old, new=new)
    if ends.same:
        return 0
    rows = _row_moves(plan, ends)
    lengths = np.empty(len(ends.new), dtype=np.int64)
    received_bytes = _exchange(comm, rows, np.diff(obj.indptr), lengths)
    indptr = np.zeros(len(ends.new) + 1, dtype=np.int64)
    np.cumsum(lengths, out=indptr[1:])
    elements = _element_moves(rows, old_starts=obj.indptr, new_starts=indptr)
    before = int(facts.counts[: comm.rank].sum())
    rooms, in_place = obj.rooms(facts.nonzeros, facts.index_type, first=before)
    first = int(firsts[comm.rank])
    indices, data = (room.part(first, first + int(indptr[-1])) for room in rooms)
    old_indices = obj.indices.astype(facts.index_type, copy=False)
    received_bytes += _exchange(comm, elements, old_indices, indices, in_place=in_place)
    received_bytes += _exchange(comm, elements, obj.data, data, in_place=in_place)
    row_cost = None
    if facts.costs_move:
        row_cost = np.empty(len(ends.new), dtype=np.float64)
        old_cost = np.empty(0, dtype=np.float64) if obj.row_cost is None else obj.row_cost
        received_bytes += _exchange(comm, rows, old_cost, row_cost)
    obj.adopt(indptr, indices, data, row_cost=row_cost, rooms=rooms, first=first)
    return received_bytes


@dataclass(frozen=True)
class CSRFacts:
    """What all ranks know of a sparse matrix before it moves.

    Attributes
    ----------
    index_type, one_type
        The widest in use, and whether it is the only one.
    costs_move, costs_lack
        There are row costs; some ranks that hold rows have none.
    counts
        The non-zeros of each rank, shape ``(ranks,)``.
    """

    index_type: np.dtype[Any]
    one_type: bool
    costs_move: bool
    costs_lack: bool
    counts: NDArray[np.int64]

    @property
    def nonzeros(self) -> int:
        return int(self.counts.sum())


def agree_on_csr(obj: DistributedCSR, comm: MPI.Intracomm, *, holds_rows: bool) -> CSRFacts:
    """Agree on the type of the indices, on whether there are row costs to move, and on the non-zeros of each rank; collective."""
    has_cost = obj.row_cost is not None
    count = len(obj.indices)
    mine = np.array(
        [obj.indices.itemsize if count else 0, holds_rows and has_cost, holds_rows and not has_cost, count],
        dtype=np.int64,
    )
    everybody = np.empty((comm.size, len(mine)), dtype=np.int64)
    comm.Allgather(mine, everybody)
    index_bytes, some_have, some_lack, _ = everybody.max(axis=0).tolist()
    index_type = np.dtype(np.int32 if index_bytes == 4 else np.int64)
    # Not np.unique, which imports numpy.ma when it is first called, while all ranks wait.
    one_type = len(set(everybody[everybody[:, 3] > 0, 0].tolist())) <= 1
    return CSRFacts(index_type, one_type, bool(some_have), bool(some_have and some_lack), everybody[:, 3])


def first_nonzeros(
    obj: DistributedCSR, comm: MPI.Intracomm, facts: CSRFacts, *, old: range, new: Distribution
) -> NDArray[np.int64]:
    """Tell which non-zero of the whole matrix is the first of each rank in ``new``, shape ``(ranks,)``; collective.

    The rank that holds a row knows it; a row behind the last one is behind all non-zeros.
    """
    firsts = np.zeros(comm.size, dtype=np.int64)
    rows = new.offset_array[:-1]
    mine = (rows >= old.start) & (rows < old.stop)
    firsts[mine] = facts.counts[: comm.rank].sum() + obj.indptr[rows[mine] - old.start]
    comm.Allreduce(MPI.IN_PLACE, firsts, op=MPI.SUM)
    firsts[rows == new.rows] = facts.nonzeros
    return firsts


def _exchange(
    comm: MPI.Intracomm, moves: _Moves, old: NDArray[Any], new: NDArray[Any], *, in_place: bool = False
) -> int:
    """Send the parts of the old block, receive those of the new one; return the bytes received from others.

    What stays is copied, unless both blocks have it ``in_place``.
    """
    incoming, outgoing = bytes_of(new), bytes_of(old)
    # A block without a single byte has no bytes in any row; both ends of a message find that out by themselves.
    row_bytes = new.dtype.itemsize * int(np.prod(new.shape[1:], dtype=np.int64))
    receives, sends = (
        [(peer, block[start * row_bytes : stop * row_bytes]) for peer, start, stop in parts]
        for block, parts in ((incoming, moves.receives), (outgoing, moves.sends))
    )
    long = CrossMemoryCopies(
        comm,
        sends=[each for each in sends if each[1].nbytes >= crossmemory.SMALLEST_BYTES],
        receives=[each for each in receives if each[1].nbytes >= crossmemory.SMALLEST_BYTES],
    )
    requests = [
        start([piece, MPI.BYTE], peer)
        for start, runs in ((comm.Irecv, receives), (comm.Isend, sends))
        for peer, run in runs
        if run.nbytes < crossmemory.SMALLEST_BYTES
        for piece in pieces(run)
    ]
    if not in_place:
        source, target = moves.keep_from, moves.keep_to
        incoming[target.start * row_bytes : target.stop * row_bytes] = outgoing[
            source.start * row_bytes : source.stop * row_bytes
        ]
    long.finish()
    MPI.Request.Waitall(requests)
    return sum(run.nbytes for _, run in receives)


def pickled(states: Sequence[State]) -> tuple[bytes, str]:
    """Pickle the values of states; return them and what is wrong, if a value cannot be."""
    try:
        return pickle.dumps([vars(state) for state in states], protocol=pickle.HIGHEST_PROTOCOL), ""
    except Exception as error:  # what a value's own __reduce__ raises is its author's choice
        return b"", f"the state cannot be copied to new ranks: {error}"
