"""All that an application has declared: its distributed objects, replicated data and state, and the ranks' weights.

Declaring is local; handing the data to another set of ranks is collective and uses ``redistribution``.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from flexmpi.errors import UsageError
from flexmpi.runtime.arrays import redistribution, sharing
from flexmpi.runtime.arrays.dense import DistributedArray, DistributedCSR, ReplicatedArray, RowSpace, State
from flexmpi.runtime.arrays.distribution import Distribution, drop_leavers, expand_old
from flexmpi.runtime.arrays.reservation import MakeRoom, reserve
from flexmpi.runtime.job.places import Transition, members_places

Object = DistributedArray | DistributedCSR | ReplicatedArray | State


@dataclass(frozen=True)
class ConstantMove:
    """A constant object, who holds its rows, and who is to."""

    obj: DistributedArray | DistributedCSR
    old: Distribution
    new: Distribution


class RowsAhead(Protocol):
    """Rows of constant objects that have come before the redistribution that they belong to."""

    received_bytes: int

    def drop_outdated(self) -> None:
        """Drop those of objects to which the program has assigned other arrays since, on any rank; collective."""

    def take(self, obj: DistributedArray | DistributedCSR, old: Distribution, new: Distribution) -> bool:
        """Give an object the rows that have come, if they are those of a move from ``old`` to ``new``; else they are dropped."""


@dataclass(frozen=True)
class Moved:
    """What a redistribution took on this rank: seconds to choose the shares and to move, bytes received from others."""

    balance_s: float
    move_s: float
    received_bytes: int


class Registry:
    """The objects of one application, in the order of their declaration, which is the same on every rank.

    Attributes
    ----------
    weights
        Relative computing power of each rank, in the units of the corefile; empty in a newcomer that has not joined.
    rank
        This rank's number in the application.
    """

    def __init__(self) -> None:
        self.weights: tuple[float, ...] = ()
        self.rank = 0
        # States have no name; their key is their place.
        self._objects: dict[str | int, Object] = {}
        self._spaces: dict[int, RowSpace] = {}
        self._unshared: set[int] = set()
        self._planned: Mapping[int, Distribution] = {}
        self._make_room: MakeRoom = reserve
        self.is_taken = True

    def start(self, weights: Sequence[float], rank: int, *, make_room: MakeRoom = reserve) -> None:
        """Make this a rank of a starting application: objects declared from now on have rows here."""
        self.weights, self.rank, self._make_room = tuple(weights), rank, make_room

    def succeed(self, planned: Mapping[int, Distribution]) -> None:
        """Make this a rank of a successor: its rows are planned, and their data comes when it is taken."""
        self._planned, self.is_taken = planned, False

    def take_over(self) -> None:
        """Be a rank that computes, whose data is here."""
        self.is_taken = True
        for space in self._spaces.values():
            space.is_taken = True
        self._unshared.clear()

    def space(self, rows: int, *, row_costs: NDArray[np.float64] | None = None) -> RowSpace:
        """Return the space of all objects with so many rows; the first of them may have its rows shared by cost."""
        if rows not in self._spaces:
            distribution = self._planned.get(rows)
            if distribution is not None:
                pass
            elif self.weights and row_costs is not None:
                distribution = Distribution.by_cost(row_costs, self.weights)
            elif self.weights:
                distribution = Distribution.by_weight(rows, self.weights)
            self._spaces[rows] = RowSpace(rows, distribution, self.rank, self._make_room, self.is_taken)
        return self._spaces[rows]

    def add(self, name: str, declared: Object) -> None:
        """Take an object in.

        Raises
        ------
        UsageError
            Another has this name.
        """
        if name in self._objects:
            raise UsageError(
                f"an object named {name!r} exists already; every flex.array, csr and replicated has its own name"
            )
        self._objects[name] = declared
        if isinstance(declared, DistributedCSR) and declared.balance == "nonzeros" and self.weights:
            self._unshared.add(declared.shape[0])

    def check_name(self, name: object) -> None:
        """Refuse a name that is not text or is taken, before anything is allocated for it."""
        if not isinstance(name, str) or not name:
            raise UsageError(f"an object's name must be text, got {name!r}")
        if name in self._objects:
            raise UsageError(
                f"an object named {name!r} exists already; every flex.array, csr and replicated has its own name"
            )

    def add_state(self, state: State) -> None:
        """Take a state in; states are told apart by the order of their declaration."""
        self._objects[len(self._objects)] = state

    @property
    def objects(self) -> list[Object]:
        """All objects, in the order of their declaration."""
        return list(self._objects.values())

    def take_unshared(self) -> list[RowSpace]:
        """Return, once, the row spaces that are to be shared by the non-zeros of matrices declared since."""
        rows, self._unshared = sorted(self._unshared), set()
        return [self._spaces[count] for count in rows]

    def balanced(self, space: RowSpace, weights: Sequence[float], comm: MPI.Intracomm) -> Distribution:
        """Find out, with all ranks, how the rows of a row space are to be shared by weights, be it among other ranks."""
        assert space.distribution is not None
        return sharing.balanced_distribution(
            space.rows, weights, _costed(self.members(space)), comm, space.distribution
        )

    @property
    def spaces(self) -> list[RowSpace]:
        """All row spaces."""
        return list(self._spaces.values())

    def members(self, space: RowSpace) -> list[DistributedArray | DistributedCSR]:
        """Return the objects of a row space."""
        return [
            known
            for known in self._objects.values()
            if isinstance(known, DistributedArray | DistributedCSR) and known.space is space
        ]

    def descriptors(self) -> list[dict[str, Any]]:
        """Describe all declarations, to compare them with a newcomer's."""
        return [declared.descriptor() for declared in self._objects.values()]

    def digest(self) -> int:
        """Return a checksum of the descriptors."""
        return zlib.crc32(json.dumps(self.descriptors(), sort_keys=True).encode())

    def distributions(self) -> dict[int, Distribution]:
        """Return the distribution of each row space, for newcomers."""
        return {rows: space.distribution for rows, space in self._spaces.items() if space.distribution is not None}

    def load(self) -> tuple[list[float], bool]:
        """Return what each rank computes with: its rows of the longest objects (True), or its share where rows differ in cost."""
        costed = any(
            isinstance(known, DistributedCSR) and known.balance == "nonzeros" for known in self._objects.values()
        )
        longest = self._spaces.get(max(self._spaces, default=-1))
        if costed or longest is None or longest.distribution is None:
            return list(self.weights), False
        return [float(count) for count in longest.distribution.counts], True

    def adopt(self, distributions: dict[int, Distribution]) -> None:
        """Learn, as a newcomer, who holds the rows now."""
        for rows, distribution in distributions.items():
            self._spaces[rows].distribution = distribution
        self._unshared.clear()

    def share_by_cost(self, comm: MPI.Intracomm) -> bool:
        """Share the rows of newly filled matrices by their non-zeros; collective. True if any rows may have moved."""
        spaces = self.take_unshared()
        if comm.size == 1 or not spaces:
            return False
        for space in spaces:
            self._move_space(space, comm, self.weights, lambda: None)
        return True

    def constant_bytes(self) -> int:
        """Return the size of the constant data, of all ranks together; that of matrices is guessed from this rank's share."""
        share = self.weights[self.rank] / sum(self.weights) or 1.0
        return sum(
            declared.shape[0] * declared.row_bytes
            if isinstance(declared, DistributedArray)
            else round(declared.local_bytes / share)
            for declared in self._constant()
        )

    def _constant(self) -> list[DistributedArray | DistributedCSR]:
        return [
            known
            for known in self._objects.values()
            if isinstance(known, DistributedArray | DistributedCSR) and known.constant
        ]

    def constant_moves(
        self,
        comm: MPI.Intracomm,
        weights: Sequence[float],
        distributions: dict[int, Distribution],
        *,
        newcomers: Sequence[int],
    ) -> list[ConstantMove]:
        """Return where the constant rows are and where they belong by ``weights``; collective.

        Parameters
        ----------
        comm, weights
            As for `redistribute`.
        distributions
            Who holds the rows of each row space now; newcomers have been told.
        newcomers
            The ranks of ``comm`` that hold no rows yet.
        """
        moves: list[ConstantMove] = []
        for rows, present in sorted(distributions.items()):
            space, old = self._spaces[rows], expand_old(present, newcomers)
            new = sharing.balanced_distribution(rows, weights, _costed(self.members(space)), comm, old)
            moves += [ConstantMove(known, old, new) for known in self._constant() if known.space is space]
        return moves

    def redistribute(
        self,
        comm: MPI.Intracomm,
        weights: Sequence[float],
        progress: Callable[[], None],
        *,
        newcomers: Sequence[int] = (),
        ahead: RowsAhead | None = None,
    ) -> Moved:
        """Hand every row to the rank of ``comm`` it belongs to by ``weights``; collective.

        ``comm`` has the application's ranks in their order, and ``newcomers`` among them; leavers have the weight 0. What has
        moved ``ahead`` is adopted.
        """
        if ahead is not None:
            ahead.drop_outdated()
        parts = [
            self._move_space(space, comm, weights, progress, newcomers=newcomers, ahead=ahead)
            for space in self._spaces.values()
        ]
        self.weights, self.rank = tuple(weights), comm.rank
        return Moved(
            sum(part.balance_s for part in parts),
            sum(part.move_s for part in parts),
            sum(part.received_bytes for part in parts) + (0 if ahead is None else ahead.received_bytes),
        )

    @property
    def filled(self) -> int:
        """How often sparse matrices were assigned on this rank: what they hold may be something else each time."""
        return sum(known.filled for known in self._objects.values() if isinstance(known, DistributedCSR))

    def bytes_to_move(self, comm: MPI.Intracomm, imagined: Sequence[Transition]) -> list[int]:
        """Find out what changes of ranks would move, by the rules by which `redistribute` and `replicate` move it; collective.

        Parameters
        ----------
        comm
            The present ranks.
        imagined
            The changes.

        Returns
        -------
        list of int
            For each of them the bytes that all its ranks together would receive; the same on every rank.
        """
        received = np.zeros(len(imagined), dtype=np.int64)
        if comm.rank == 0:
            copied = sum(known.local.nbytes for known in self._replicated())
            received += [copied * len(each.newcomers) for each in imagined]
        places = [members_places(len(each.weights), each.newcomers)[comm.rank] for each in imagined]
        for space in self._spaces.values():
            assert space.distribution is not None
            members = self.members(space)
            sizes = [redistribution.row_sizes(known, comm) for known in members]
            new = sharing.balanced_distributions(
                space.rows, [each.weights for each in imagined], _costed(members), comm, space.distribution
            )
            for number, (distribution, place) in enumerate(zip(new, places, strict=True)):
                held = space.interval
                kept = _overlap(held, distribution.interval(place))
                local = range(kept.start - held.start, kept.stop - held.start)
                received[number] += sum(each.of(0, len(held)) - each.of(local.start, local.stop) for each in sizes)
        comm.Allreduce(MPI.IN_PLACE, received, op=MPI.SUM)
        return list(received.tolist())

    def replicate(self, comm: MPI.Intracomm, *, newcomers: Collection[int], root: int) -> int:
        """Give ``newcomers`` what every other rank has, from rank ``root``; collective.

        Returns
        -------
        int
            Bytes of arrays that this rank did not have before.
        """
        received_bytes = 0
        for declared in self._replicated():
            redistribution.broadcast_replicated(declared, comm, root=root)
            received_bytes += declared.local.nbytes if comm.rank in newcomers else 0
        states = [known for known in self._objects.values() if isinstance(known, State)]
        redistribution.broadcast_state(states, comm, newcomers=newcomers, root=root)
        return received_bytes

    def _replicated(self) -> list[ReplicatedArray]:
        return [known for known in self._objects.values() if isinstance(known, ReplicatedArray)]

    def immovable(self) -> str:
        """Say what newcomers cannot be given: a value of a state that cannot be pickled; empty if there is none."""
        return redistribution.pickled([known for known in self._objects.values() if isinstance(known, State)])[1]

    def close_ranks(self, leaving: Collection[int], rank: int) -> None:
        """Renumber after the ranks in ``leaving``, which hold nothing any more, have gone."""
        self.weights = tuple(weight for number, weight in enumerate(self.weights) if number not in leaving)
        self.rank = rank
        for space in self._spaces.values():
            if space.distribution is not None:
                space.distribution, space.rank = drop_leavers(space.distribution, leaving), rank

    def populate(self, weights: Sequence[float], rank: int) -> None:
        """Get the memory, as a newcomer, for the rows that will come: those of dense arrays, by the weights of all ranks then."""
        for declared in self._objects.values():
            if isinstance(declared, DistributedArray):
                declared.populate(Distribution.by_weight(declared.shape[0], weights).interval(rank))

    def depopulate(self) -> None:
        """Give back, as a rank without rows, what `populate` got."""
        for declared in self._objects.values():
            if isinstance(declared, DistributedArray):
                declared.forget()

    def forget_ranks(self) -> None:
        """Be a rank outside the application again: it holds no row."""
        self.weights, self.rank = (), 0
        for space in self._spaces.values():
            space.distribution, space.rank = None, 0

    def _move_space(
        self,
        space: RowSpace,
        comm: MPI.Intracomm,
        weights: Sequence[float],
        progress: Callable[[], None],
        *,
        newcomers: Sequence[int] = (),
        ahead: RowsAhead | None = None,
    ) -> Moved:
        if space.distribution is None:
            raise UsageError(f"the objects of {space.rows} rows were declared by a rank that has not joined")
        start = perf_counter()
        old = expand_old(space.distribution, newcomers)
        members = self.members(space)
        new = sharing.balanced_distribution(space.rows, weights, _costed(members), comm, old)
        balanced = perf_counter()
        received_bytes = 0
        for declared in members:
            if ahead is None or not ahead.take(declared, old, new):
                received_bytes += redistribution.move_object(declared, comm, old, new, comm.rank)
                progress()
        space.distribution, space.rank = new, comm.rank
        return Moved(balanced - start, perf_counter() - balanced, received_bytes)


def _overlap(held: range, wanted: range) -> range:
    """Return the rows in both, as a part of those held; the first none of them where there are none."""
    start, stop = max(held.start, wanted.start), min(held.stop, wanted.stop)
    return range(start, stop) if start < stop else range(held.start, held.start)


def _costed(members: Sequence[Object]) -> DistributedCSR | None:
    """Return the first of the objects of a row space whose rows' costs count, if there is one."""
    costed = (known for known in members if isinstance(known, DistributedCSR) and known.balance == "nonzeros")
    return next(costed, None)
