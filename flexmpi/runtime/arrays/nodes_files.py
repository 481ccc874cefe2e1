"""The files of a world's nodes, seen from a rank: its own node's as memory, and bytes that go from one node's to another's.

A byte lies at its place among those of all ranks, on whichever node. What is there is never written over: bytes come into files
where nobody had them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
from mpi4py import MPI

from flexmpi.errors import MembershipError, NodeMemoryError
from flexmpi.runtime.arrays import parts, transfers
from flexmpi.runtime.arrays.dense import DistributedArray
from flexmpi.runtime.arrays.known_matrices import KnownMatrices
from flexmpi.runtime.arrays.layout import Layout
from flexmpi.runtime.arrays.node_memory import NodeRoom, OpenFile
from flexmpi.runtime.arrays.parts import HeldPart, Part, Rows, Stretch
from flexmpi.runtime.arrays.runs import Bytes
from flexmpi.runtime.arrays.sources import Move, taking_plan


class NodesFiles:
    """One rank's access to its node's files, and its part in moving bytes between nodes.

    Parameters
    ----------
    comm
        The ranks of its world.
    places
        The node of each.
    open_file
        Where the node's files come from.

    Attributes
    ----------
    read
        Reads bytes that this node has; they are in its files, unless somebody knows them elsewhere.
    """

    def __init__(self, comm: MPI.Intracomm, places: Sequence[str], open_file: OpenFile) -> None:
        self._comm = comm
        self._places = tuple(places)
        self._open_file = open_file
        self._at_hand: dict[str, int] = {}
        self.read: Callable[[Stretch], Bytes] = self.bytes_of

    @property
    def here(self) -> str:
        """The node of this rank."""
        return self._places[self._comm.rank]

    @property
    def rank_of_node(self) -> int:
        """The first of this node's ranks."""
        return self._places.index(self.here)

    def room(self, key: str, count: int, dtype: np.dtype[Any]) -> NodeRoom:
        """Make room for elements of all ranks."""
        return NodeRoom(key, count, dtype, open_file=self._open)

    def have_at_hand(self, wanted: Collection[Part]) -> None:
        """Ask now for files that are to be mapped without delay; one that is not to be had is missed when it is mapped."""
        for part in wanted:
            if part.count and part.key not in self._at_hand:
                with suppress(NodeMemoryError):
                    self._at_hand[part.key] = self._open_file(part.key, part.count * part.dtype.itemsize)

    def let_go(self, part: Part) -> None:
        """Close a file that was asked for and is not mapped, for this rank has nothing of it."""
        if (descriptor := self._at_hand.pop(part.key, None)) is not None:
            os.close(descriptor)

    def _open(self, key: str, size_bytes: int) -> int:
        return self._at_hand.pop(key) if key in self._at_hand else self._open_file(key, size_bytes)

    def room_of(self, part: Part) -> NodeRoom:
        """Return the room of a part of an object."""
        return self.room(part.key, part.count, part.dtype)

    def bytes_of(self, stretch: Stretch) -> Bytes:
        """Map some bytes."""
        return self.room(stretch.key, stretch.size_bytes, np.dtype(np.uint8)).part(stretch.start, stretch.stop)

    def on_all(self, act: Callable[[], object]) -> None:
        """Do what a node may have no room for; collective.

        Raises
        ------
        MembershipError
            On every rank, if a node has none.
        """
        problem = ""
        try:
            act()
        except NodeMemoryError as error:
            problem = str(error)
        if self._comm.allreduce(bool(problem), op=MPI.LOR):
            raise MembershipError(next(filter(None, self._comm.allgather(problem))))

    def fill(self, parts_held: Collection[HeldPart]) -> None:
        """Lay down what this rank holds of something."""
        for part in parts_held:
            self.bytes_of(part.place)[:] = part.values

    def first_and_last(self, obj: Rows, known: KnownMatrices, rows: range) -> tuple[int, int]:
        """Return where the non-zeros of rows begin and end, whose starts lie on this node; of a dense array nowhere."""
        facts = known.facts(obj)
        if isinstance(obj, DistributedArray):
            return 0, 0
        assert facts is not None
        starts = parts.starts(obj, facts)
        first, last = (self.read(starts.stretch(row, row + 1)).view(np.int64) for row in (rows.start, rows.stop))
        return int(first[0]), int(last[0])

    def move(self, moves: Sequence[Move], stretches: Callable[[range], Sequence[Stretch]]) -> int:
        """Carry out moves, as all ranks do; return the bytes that this rank has taken in."""
        if not moves:
            return 0
        wanted = transfers.transfers(moves, self._places, self._comm.rank, stretches)
        coming = [each.stretch for each in wanted if each.target == self._comm.rank]
        rooms: dict[Stretch, Bytes] = {}
        self.on_all(lambda: rooms.update((stretch, self.bytes_of(stretch)) for stretch in coming))
        received_bytes = transfers.carry_out(wanted, self._comm, room_for=rooms.__getitem__, read=self.read)
        # What another rank of this node has taken in is there for all of them.
        self._comm.Barrier()
        return received_bytes

    def move_rows(
        self, objects: Collection[Rows], held: Layout, wanted: Layout, known: KnownMatrices, *, by_predecessor: bool
    ) -> int:
        """Move rows that are to lie on other nodes; return the bytes that this rank has taken in.

        Parameters
        ----------
        objects, known
            Whose rows, and what is known of those that are sparse matrices.
        held, wanted
            Where they are, and where they are to be.
        by_predecessor
            Whether this is the world that holds them, which moves what lies on nodes that the successor does not use.
        """

        def rows_of(obj: Rows, rows: range) -> list[Stretch]:
            return parts.by_rows(obj, known.facts(obj), rows)

        def nonzeros_of(obj: Rows, rows: range) -> list[Stretch]:
            return parts.by_nonzeros(obj, known.facts(obj), *self.first_and_last(obj, known, rows))

        moves = {obj.shape[0]: _moves(obj.shape[0], held, wanted, by_predecessor) for obj in objects}
        # Where non-zeros lie is known on both nodes when their starts have come.
        return sum(
            self.move(moves[obj.shape[0]], partial(lie, obj)) for lie in (rows_of, nonzeros_of) for obj in objects
        )


def _moves(rows: int, held: Layout, wanted: Layout, by_predecessor: bool) -> Sequence[Move]:
    if rows not in held.shared:
        return ()  # the predecessor has nothing of these
    plan = taking_plan(held.holdings(rows), wanted.holdings(rows))
    return plan.before if by_predecessor else plan.after
