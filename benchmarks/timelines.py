"""When the iterations of a program began, through all its worlds, and what its changes of ranks cost by that. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Any, Self

NEIGHBOURS = 3
"""So many iterations before and after a change are looked at for the longest."""
SETTLED = 20
"""So many iterations after a change the program is itself again: the old ranks have ended."""


@dataclass(frozen=True)
class Timeline:
    """A program's iterations, the last of which has no length.

    Attributes
    ----------
    begins
        When each began.
    changes
        Before which of them ranks changed; in the order of the changes.
    orders
        When each change was ordered.
    standstills
        From the end of an old world's last iteration to the begin of the new one's first, where a change had two worlds.
    """

    begins: Sequence[float]
    changes: Sequence[int]
    orders: Sequence[float]
    standstills: Sequence[float]

    @classmethod
    def of(cls, worlds: Sequence[Mapping[str, Any]], orders: Sequence[float]) -> Self:
        """Put together what the worlds of a program have said of their iterations; ValueError if a change is missing."""
        begins: list[float] = []
        changes: list[int] = []
        standstills: list[float] = []
        end = None
        for world in sorted(worlds, key=lambda world: float(world["begins"][0])):
            if end is not None:
                standstills.append(world["begins"][0] - end)
            changes += [len(begins) + change for change in world["changes"]]
            begins += world["begins"]
            end = world["end"]
        if len(changes) != len(orders):
            raise ValueError(f"{len(orders)} changes were ordered, and the program has seen {len(changes)}")
        return cls(begins, changes, orders, standstills)

    @property
    def felt_s(self) -> list[float]:
        """Return for each change the longest iteration around it, less a normal one of as many ranks."""
        return [
            max(excess for _, excess in self._excess(range(at - 1 - NEIGHBOURS, at + NEIGHBOURS), number))
            for number, at in enumerate(self.changes)
        ]

    @property
    def lost_s(self) -> list[float]:
        """Return for each change by how much its iterations took longer than normal ones, from the order until all is settled.

        Without the iteration in which the program checks its data.
        """
        lost = []
        for number, (at, ordered) in enumerate(zip(self.changes, self.orders, strict=True)):
            iterations = range(bisect_left(self.begins, ordered) - 1, at + SETTLED)
            lost.append(sum(excess for each, excess in self._excess(iterations, number) if each != at + NEIGHBOURS))
        return lost

    @cached_property
    def normal_s(self) -> list[float]:
        """The median of the iterations before the first change, between each two, and after the last that nothing disturbs."""
        begun = [0, *self.changes]
        ends = [*(bisect_left(self.begins, ordered) - 1 for ordered in self.orders), len(self.begins) - 1]
        return [
            median(self._length(each) for each in range(first + SETTLED, end))
            for first, end in zip(begun, ends, strict=True)
        ]

    def _length(self, iteration: int) -> float:
        return self.begins[iteration + 1] - self.begins[iteration]

    def _excess(self, iterations: range, number: int) -> Iterator[tuple[int, float]]:
        """Yield iterations around a change, and how much longer each took than a normal one with as many ranks."""
        last = len(self.begins) - 1
        for each in range(max(0, iterations.start), min(last, iterations.stop)):
            yield each, self._length(each) - self.normal_s[number + (each >= self.changes[number])]
