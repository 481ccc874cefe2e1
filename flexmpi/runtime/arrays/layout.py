"""Which ranks of a world have which rows, and on which nodes these ranks are. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flexmpi.protocol.handover import SharedRows
from flexmpi.runtime.arrays.distribution import Distribution
from flexmpi.runtime.arrays.sources import Holding


@dataclass(frozen=True)
class Layout:
    """Where the rows of a world's objects are.

    Attributes
    ----------
    places
        The node of each rank.
    shared
        Who has which rows of all objects with so many.
    """

    places: tuple[str, ...]
    shared: Mapping[int, Distribution]

    @classmethod
    def of(cls, places: Iterable[str], shared: Iterable[SharedRows]) -> Layout:
        """Return what a message says."""
        return cls(tuple(places), {each.rows: Distribution(each.offsets) for each in shared})

    def as_records(self) -> tuple[SharedRows, ...]:
        """Return who has which rows, for a message."""
        return tuple(SharedRows(rows, each.offsets) for rows, each in sorted(self.shared.items()))

    def holdings(self, rows: int) -> list[Holding]:
        """Return what lies on each node of the objects with so many rows: those of ranks that follow each other together."""
        found: list[Holding] = []
        for rank, place in enumerate(self.places):
            part = self.shared[rows].interval(rank)
            if found and found[-1].place == place:
                found[-1] = Holding(place, range(found[-1].rows.start, part.stop))
            else:
                found.append(Holding(place, part))
        return found

    def whole(self, size_bytes: int) -> list[Holding]:
        """Return what is to lie on each node of something that all ranks have whole."""
        return [Holding(place, range(size_bytes)) for place in dict.fromkeys(self.places)]
