"""Rows in the files of nodes: laid there, and taken by a successor.

A row lies on the node of the rank that has it, at its place among all rows, whoever that rank is; so on a node rows are taken by
being mapped.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flexmpi.errors import MembershipError
from flexmpi.runtime.arrays import parts
from flexmpi.runtime.arrays.dense import DistributedArray, DistributedCSR
from flexmpi.runtime.arrays.layout import Layout
from flexmpi.runtime.arrays.node_memory import NodeRoom
from flexmpi.runtime.arrays.parts import Rows
from flexmpi.runtime.arrays.world_rows import Passing, WorldRows


class NodeRows(WorldRows):
    """One rank's rows, where they lie on its node."""

    copies_are_mapped = offers_last = True

    def room(self, key: str, count: int, dtype: np.dtype[Any]) -> NodeRoom:
        """Make room for an object's elements in the node's files."""
        return self._files.room(key, count, dtype)

    def lay(self, matrices: Collection[DistributedCSR]) -> list[tuple[str, str]]:
        """Lay sparse matrices that have been assigned since into the nodes' files."""
        before = {each.name: self.known.facts(each) for each in matrices}
        superseded = []
        changed = self.known.agree(matrices)
        for number, matrix in enumerate(changed):
            facts, first = self.known.facts(matrix), self.known.first(matrix)
            try:
                self.on_all(partial(self._files.fill, parts.held_parts(matrix, facts, first=first)))
            except MembershipError:
                for each in changed[number:]:
                    self.known.forget(each)
                raise
            self.take(matrix, matrix.rows)
            if (were := before[matrix.name]) is not None:
                superseded += [(matrix.name, key) for key in parts.all_keys(matrix, were)]
        return superseded

    def share(self, objects: Collection[Rows], held: Layout, wanted: Layout) -> None:
        """Have other rows; those that come to other nodes travel."""
        self._files.move_rows(objects, held, wanted, self.known, by_predecessor=False)
        for each in objects:
            self.take(each, wanted.shared[each.shape[0]].interval(self._comm.rank))

    def offer(self, objects: Collection[Rows], held: Layout, wanted: Layout, passing: Passing) -> int:
        """Move what lies on nodes that the successor does not use; all else is where it is taken."""
        return self._files.move_rows(objects, held, wanted, self.known, by_predecessor=True)

    def take_back(self) -> None:
        """Do nothing: rows are where they were."""

    def prepare(self, objects: Collection[Rows]) -> None:
        """Ask for the files of dense arrays; others have none before they are laid."""
        self._files.have_at_hand([parts.elements(each) for each in objects if isinstance(each, DistributedArray)])

    def unreadable(self, passing: Passing) -> tuple[int, ...]:
        """Return none: nobody's memory is read."""
        return ()

    def bring(self, objects: Collection[Rows], held: Layout, wanted: Layout, passing: Passing) -> int:
        """Move what is wanted on other nodes of the successor."""
        return self._files.move_rows(objects, held, wanted, self.known, by_predecessor=False)

    def take(self, obj: Rows, rows: range, *, writeable: bool = True) -> int:
        """Map an object's rows where they lie on this node."""
        if isinstance(obj, DistributedArray):
            block = obj.block(rows)
            block.flags.writeable = writeable
            obj.adopt(block, rows)
            self._files.let_go(parts.elements(obj))
            return block.nbytes
        facts = self.known.facts(obj)
        assert facts is not None
        room_of = self._files.room_of
        starts = np.zeros(1, dtype=np.int64)
        if rows:
            starts = room_of(parts.starts(obj, facts)).part(rows.start, rows.stop + 1)
        columns, values = map(room_of, parts.nonzeros(obj, facts))
        first, last = int(starts[0]), int(starts[-1])
        arrays: list[NDArray[Any]] = [starts - first, columns.part(first, last), values.part(first, last)]
        for array in arrays:
            array.flags.writeable = writeable
        costs = room_of(parts.costs(obj, facts)).part(rows.start, rows.stop).copy() if facts.has_costs else None
        obj.adopt(arrays[0], arrays[1], arrays[2], row_cost=costs, rooms=(columns, values), first=first)
        self.known.note(obj, first=first)
        return sum(array.nbytes for array in arrays)

    def kept(self, objects: Collection[object], held: Layout) -> dict[str, tuple[int, int]]:
        """Return where this node's rows lie."""
        here = self._files.here
        kept: dict[str, tuple[int, int]] = {}
        for obj in objects:
            facts = self.known.facts(obj)
            if not isinstance(obj, DistributedArray) and (not isinstance(obj, DistributedCSR) or facts is None):
                continue
            mine = [each.rows for each in held.holdings(obj.shape[0]) if each.place == here]
            rows = range(mine[0].start, mine[-1].stop)
            nonzeros = self._files.first_and_last(obj, self.known, rows)
            for stretch in (*parts.by_rows(obj, facts, rows), *parts.by_nonzeros(obj, facts, *nonzeros)):
                kept[stretch.key] = stretch.start, stretch.stop
        return kept
