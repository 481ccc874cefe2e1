"""What a rank sends, and what comes to its new block, when the rows of one constant object move ahead of a reconfiguration.

The program computes with the old block meanwhile, so nothing of that is touched; together a rank never has more than the old
and the new one. The messages themselves are in ``ahead``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.typing import DTypeLike, NDArray

from flexmpi.runtime.arrays.dense import DistributedArray, DistributedCSR
from flexmpi.runtime.arrays.distribution import Distribution, overlap_plan
from flexmpi.runtime.arrays.redistribution import agree_on_csr, first_nonzeros
from flexmpi.runtime.arrays.reservation import Reservation, Room
from flexmpi.runtime.arrays.runs import Bytes, bytes_of, pieces


@dataclass(frozen=True)
class Incoming:
    """Bytes of a new block: where they come from, another rank or this one's old block, and what is added to each int64 then."""

    target: Bytes
    source: int | Bytes
    shift: int = 0

    def pieces(self, limit_bytes: int) -> Iterator[Incoming]:
        """Cut it into pieces of limited size, a multiple of 8."""
        targets = pieces(self.target, limit_bytes)
        if isinstance(self.source, int):
            return (Incoming(target, self.source, self.shift) for target in targets)
        sources = pieces(self.source, limit_bytes)
        return (Incoming(target, source, self.shift) for target, source in zip(targets, sources, strict=True))

    def arrived(self) -> None:
        """Make the bytes, which are there now, what they are to be."""
        if self.shift:
            numbers = self.target.view(np.int64)
            numbers += self.shift


@dataclass
class Part:
    """One rank's part in moving one object from ``old`` to ``new``.

    Attributes
    ----------
    obj, old, new, rank
        The object, its distributions over the ranks of the transition, and this rank there.
    possible
        Whether this rank can receive rows while it uses its old ones.
    sends
        Pairs of the other rank and the bytes, for each two ranks in the order of the receiver's ``incoming``.
    incoming
        All that its new block lacks.
    filled
        How often a matrix has been assigned here.
    rooms
        Where to get memory for what comes, and from which element to which.
    """

    obj: DistributedArray | DistributedCSR
    old: Distribution
    new: Distribution
    rank: int
    possible: bool = True
    sends: list[tuple[int, Bytes]] = field(default_factory=list)
    incoming: list[Incoming] = field(default_factory=list)
    filled: int = 0
    rooms: list[tuple[Room, int, int]] = field(default_factory=list)
    _adopt: Callable[[], None] = lambda: None

    @property
    def current(self) -> bool:
        """Whether the program has assigned nothing to a matrix since the move began; else that must move."""
        return not isinstance(self.obj, DistributedCSR) or self.obj.filled == self.filled

    def populate(self) -> None:
        """Get the memory for what comes, as a rank that has nothing else to do.

        Where it is found while others' pages are read, the computation of these stands still for 20 ms now and then.
        """
        for room, first, last in self.rooms:
            room.populate(first, last)

    def adopt(self) -> None:
        """Take the new block, when all has arrived."""
        self._adopt()

    def add(
        self,
        present: NDArray[Any],
        coming: NDArray[Any],
        places: Places,
        *,
        shift: Callable[[int], int] = lambda _: 0,
        in_place: bool = False,
    ) -> None:
        """Add what must be sent of one old block, and what one new block lacks.

        Parameters
        ----------
        present, coming
            The blocks.
        places
            Where rows lie in them.
        shift
            What is to be added to each int64 that comes from a rank.
        in_place
            What stays need not be copied.
        """
        plan = overlap_plan(self.old, self.new, self.rank)
        old, new = bytes_of(present), bytes_of(coming)
        sources: list[tuple[int, range, int | Bytes]] = [(peer, rows, peer) for peer, rows in plan.receives]
        if plan.keep and not in_place:
            sources.append((self.rank, plan.keep, places.cut(old, plan.keep, first=places.old)))
        self.incoming += [
            Incoming(places.cut(new, rows, first=places.new), source, shift(rank)) for rank, rows, source in sources
        ]
        self.sends += [(peer, places.cut(old, rows, first=places.old)) for peer, rows in plan.sends]


@dataclass(frozen=True)
class Places:
    """Where rows lie in an old and a new block of numbers.

    Attributes
    ----------
    old, new
        The first number of each block, counted over all ranks.
    size_bytes
        Of one number.
    number_of
        The number at which a row begins, counted so too; the row itself where there is no such table.
    """

    old: int
    new: int
    size_bytes: int
    number_of: dict[int, int] | None = None

    def cut(self, block: Bytes, rows: range, *, first: int) -> Bytes:
        """Return some rows of a block that begins with the number ``first``."""
        start, stop = rows.start, rows.stop
        if self.number_of is not None:
            start, stop = self.number_of[start], self.number_of[stop]
        return block[(start - first) * self.size_bytes : (stop - first) * self.size_bytes]


def dense_part(obj: DistributedArray, old: Distribution, new: Distribution, rank: int) -> Part:
    """Plan a rank's part for a dense array, whose rows that stay are in place already."""
    part = Part(obj, old, new, rank, obj.in_place)
    held, wanted = old.interval(rank), new.interval(rank)
    if held == wanted or not part.possible:
        return part
    block = obj.block(wanted)
    part.add(obj.local, block, Places(held.start, wanted.start, obj.row_bytes), in_place=True)
    part._adopt = lambda: obj.adopt(block, wanted)
    return part


def csr_part(obj: DistributedCSR, comm: MPI.Intracomm, old: Distribution, new: Distribution) -> Part:
    """Plan a rank's part for a sparse matrix; collective.

    How many non-zeros lie between two rows at which a rank's rows begin, before or after, is known to all, and so are the
    lengths of all messages. Arrays that the program has assigned are copied to their places in the matrix.
    """
    rank = comm.rank
    part = Part(obj, old, new, rank, filled=obj.filled)
    held, wanted = old.interval(rank), new.interval(rank)
    facts = agree_on_csr(obj, comm, holds_rows=bool(held))
    firsts = first_nonzeros(obj, comm, facts, old=held, new=new)
    before = np.concatenate([[0], np.cumsum(facts.counts)]).tolist()
    nonzero_of = dict(zip(old.offsets, before, strict=True))
    nonzero_of |= dict(zip(new.offsets, [*firsts.tolist(), facts.nonzeros], strict=True))
    # Indices of several types would have to be converted, all at once; and if costs lack the move will say so.
    part.possible = bool(facts.nonzeros) and facts.one_type and not facts.costs_lack
    if held == wanted or not part.possible:
        return part
    first, last = nonzero_of[wanted.start], nonzero_of[wanted.stop]
    rooms, in_place = obj.rooms(facts.nonzeros, facts.index_type, first=before[rank])
    part.possible = all(room.in_place for room in rooms)
    indptr = _untouched(len(wanted) + 1, np.int64)
    by_rows = Places(held.start, wanted.start, 8)
    part.add(obj.indptr[1:], indptr[1:], by_rows, shift=lambda source: before[source] - first)
    indices, data = (room.part(first, last) for room in rooms)
    part.rooms = [(room, first, last) for room in rooms]
    for present, coming in ((obj.indices, indices), (obj.data, data)):
        places = Places(before[rank], first, coming.itemsize, nonzero_of)
        part.add(present, coming, places, in_place=in_place)
    row_cost = None
    if facts.costs_move:
        row_cost = _untouched(len(wanted), np.float64)
        part.add(np.empty(0) if obj.row_cost is None else obj.row_cost, row_cost, by_rows)
    part._adopt = lambda: obj.adopt(indptr, indices, data, row_cost=row_cost, rooms=rooms, first=first)
    return part


def _untouched(count: int, dtype: DTypeLike) -> NDArray[Any]:
    """Return zeros that nobody writes now: numpy may find them in memory it had before, and clear all at once."""
    return Reservation(count, np.dtype(dtype)).part(0, count)
