"""Rows in the memory of ranks, as they are without `flexmpi run`: a successor reads them there, or from files.

What can be read from the memory of the predecessor's ranks on a node is described in a file of that node. What they hold on nodes
that the successor does not use, and what the kernel does not let others read, they lay into their node's files. Until the
predecessor ends, a node holds its rows twice.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from flexmpi.errors import MembershipError
from flexmpi.protocol.records import as_object, from_object, kinds_of
from flexmpi.runtime.arrays import parts, process_memory, redistribution
from flexmpi.runtime.arrays.dense import DistributedArray, DistributedCSR
from flexmpi.runtime.arrays.layout import Layout
from flexmpi.runtime.arrays.node_memory import OpenFile
from flexmpi.runtime.arrays.parts import HeldPart, Rows, Stretch
from flexmpi.runtime.arrays.process_memory import ProcessMark
from flexmpi.runtime.arrays.reservation import Room, reserve
from flexmpi.runtime.arrays.runs import Bytes, bytes_of
from flexmpi.runtime.arrays.sources import pieces_from
from flexmpi.runtime.arrays.world_rows import Passing, WorldRows


@dataclass(frozen=True)
class PartInMemory:
    """Bytes by a key, from ``start`` to ``stop``, the first of them at an address."""

    key: str
    start: int
    stop: int
    address: int


@dataclass(frozen=True)
class RankMemory:
    """What a rank of the predecessor lets others read."""

    rank: int
    mark: ProcessMark
    parts: tuple[PartInMemory, ...]


class PrivateRows(WorldRows):
    """One rank's rows in its own memory.

    Parameters
    ----------
    comm, places, open_file
        As for `WorldRows`.
    """

    copies_are_mapped = offers_last = False

    def __init__(self, comm: MPI.Intracomm, places: Sequence[str], open_file: OpenFile) -> None:
        super().__init__(comm, places, open_file)
        self._node = comm.Split(self._files.rank_of_node)
        self._mark = process_memory.own_mark()
        self._offered: dict[bool, list[HeldPart]] = {}
        self._passing: Passing | None = None
        self._memories: list[RankMemory] = []
        self._there: dict[str, list[tuple[RankMemory, PartInMemory]]] = {}
        self._checked: set[int] = set()
        self._files.read = self._read

    def room(self, key: str, count: int, dtype: np.dtype[Any]) -> Room:
        """Make room in this rank's memory."""
        return reserve(key, count, dtype)

    def lay(self, matrices: Collection[DistributedCSR]) -> list[tuple[str, str]]:
        """Agree on what is known of sparse matrices that have been assigned since."""
        self.known.agree(matrices)
        return []

    def share(self, objects: Collection[Rows], held: Layout, wanted: Layout) -> None:
        """Move rows from rank to rank."""
        for each in objects:
            old, new = held.shared[each.shape[0]], wanted.shared[each.shape[0]]
            redistribution.move_object(each, self._comm, old, new, self._comm.rank)
        matrices = [each for each in objects if isinstance(each, DistributedCSR)]
        for matrix in matrices:
            self.known.forget(matrix)
        self.known.agree(matrices)

    # The predecessor.

    def offer(self, objects: Collection[Rows], held: Layout, wanted: Layout, passing: Passing) -> int:
        """Say what can be read from this rank's memory, and lay the rest into the node's files."""
        known, rank = self.known, self._comm.rank
        self._passing, self._there = None, {}  # what this rank has read once, as a successor
        offered = [part for obj in objects for part in parts.held_parts(obj, known.facts(obj), first=known.first(obj))]
        # So that it stays where it is said to be, whatever the program assigns meanwhile.
        self._offered[passing.ahead] = offered
        described = self._node.gather(as_object(RankMemory(rank, self._mark, tuple(map(_in_memory, offered)))))
        through_files = rank in passing.out_of_reach or self._files.here not in wanted.places

        def lay() -> None:
            self._files.fill(offered if through_files else ())
            if described is not None:
                text = json.dumps(described).encode()
                size, itself = _description(passing, len(text))
                self._files.bytes_of(size).view(np.int64)[:] = len(text)
                self._files.bytes_of(itself)[:] = np.frombuffer(text, dtype=np.uint8)

        self.on_all(lay)
        return self._files.move_rows(objects, held, wanted, known, by_predecessor=True)

    def take_back(self) -> None:
        """Let go of what the program may have replaced."""
        self._offered.clear()

    # The successor.

    def prepare(self, objects: Collection[Rows]) -> None:
        """Get the memory for rows."""
        for each in objects:
            each.populate(each.rows)

    def unreadable(self, passing: Passing) -> tuple[int, ...]:
        """Try each process whose memory is offered on this node, and return those that a rank cannot read; collective."""
        self._look(passing)
        mine = [each.rank for each in self._memories if not process_memory.is_readable(each.mark)]
        return tuple(sorted(set(chain.from_iterable(self._comm.allgather(mine)))))

    def bring(self, objects: Collection[Rows], held: Layout, wanted: Layout, passing: Passing) -> int:
        """Learn what is offered on this node, and move what is wanted on other nodes."""
        self._look(passing)
        return self._files.move_rows(objects, held, wanted, self.known, by_predecessor=False)

    def _look(self, passing: Passing) -> None:
        """Read what the predecessor's ranks of this node have said."""
        if passing == self._passing:
            return
        described = None
        if self._node.rank == 0:
            (length,) = self._files.bytes_of(_description(passing, 0)[0]).view(np.int64).tolist()
            described = self._files.bytes_of(_description(passing, length)[1]).tobytes() if length else b"[]"
        all_here = json.loads(self._node.bcast(described))
        memories = [from_object(each, kinds_of(RankMemory)) for each in all_here]
        self._memories = [each for each in memories if each.rank not in passing.out_of_reach]
        self._there.clear()
        for each in self._memories:
            for part in each.parts:
                self._there.setdefault(part.key, []).append((each, part))
        self._passing = passing
        self._checked.clear()

    def take(self, obj: Rows, rows: range, *, writeable: bool = True) -> int:
        """Copy an object's rows into this rank's memory."""
        facts = self.known.facts(obj)
        if isinstance(obj, DistributedArray):
            block = obj.block(rows)
            self._fill(block, parts.by_rows(obj, None, rows)[0])
            block.flags.writeable = writeable
            obj.adopt(block, rows)
            return block.nbytes
        assert facts is not None
        starts, costs = np.zeros(len(rows) + 1, dtype=np.int64), np.zeros(len(rows), dtype=np.float64)
        if rows:
            for array, stretch in zip((starts, costs), parts.by_rows(obj, facts, rows), strict=False):
                self._fill(array, stretch)
        first, last = int(starts[0]), int(starts[-1])
        columns, values = (reserve(each.key, each.count, each.dtype) for each in parts.nonzeros(obj, facts))
        arrays: list[NDArray[Any]] = [starts - first, columns.part(first, last), values.part(first, last)]
        for array, stretch in zip(arrays[1:], parts.by_nonzeros(obj, facts, first, last), strict=True):
            self._fill(array, stretch)
        for array in arrays:
            array.flags.writeable = writeable
        row_cost = costs if facts.has_costs else None
        obj.adopt(arrays[0], arrays[1], arrays[2], row_cost=row_cost, rooms=(columns, values), first=first)
        self.known.note(obj, first=first)
        return sum(array.nbytes for array in arrays)

    def _read(self, wanted: Stretch) -> Bytes:
        """Return a copy of bytes that this node has."""
        found = np.empty(wanted.stop - wanted.start, dtype=np.uint8)
        self._fill(found, wanted)
        return found

    def _fill(self, array: NDArray[Any], wanted: Stretch) -> None:
        """Fill an array with bytes that this node has, in memory or in its files."""
        there = self._there.get(wanted.key, [])
        into, ranges = bytes_of(array), [range(part.start, part.stop) for _, part in there]
        for piece in pieces_from(ranges, range(wanted.start, wanted.stop)):
            run = into[piece.start - wanted.start : piece.stop - wanted.start]
            if piece.memory is None:
                run[:] = self._files.bytes_of(replace(wanted, start=piece.start, stop=piece.stop))
            else:
                memory, part = there[piece.memory]
                self._read_memory(memory, part.address + piece.start - part.start, run)

    def _read_memory(self, memory: RankMemory, address: int, run: Bytes) -> None:
        pid = memory.mark.pid
        if pid not in self._checked and not process_memory.is_readable(memory.mark):
            raise MembershipError(f"process {pid} is not rank {memory.rank} of before, or its memory cannot be read")
        self._checked.add(pid)
        if not process_memory.copied(run, pid, address, write=False):
            raise MembershipError(f"the memory of rank {memory.rank} of before, process {pid}, cannot be read any more")

    def kept(self, objects: Collection[object], held: Layout) -> dict[str, tuple[int, int]]:
        """Return nothing: all is in the memory of ranks."""
        return {}


def _in_memory(part: HeldPart) -> PartInMemory:
    return PartInMemory(part.place.key, part.place.start, part.place.stop, process_memory.address_of(part.values))


def _description(passing: Passing, size_bytes: int) -> tuple[Stretch, Stretch]:
    """Return where a node's ranks say what can be read: how long that is, and itself."""
    key = f"memory@{passing.change}:{'ahead' if passing.ahead else 'all'}"
    return Stretch(f"{key}:size", 8, 0, 8), Stretch(key, size_bytes, 0, size_bytes)
