"""Where the ranks of a job are, or might be, as far as its speed depends on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from statistics import fmean


@dataclass(frozen=True)
class RankGroup:
    """Ranks on nodes of one class with equally many ranks on each.

    Attributes
    ----------
    node_class
        The nodes' class: a corefile's alias, or whatever else tells fast nodes from slow ones.
    nodes, ranks_per_node
        How many nodes, and ranks on each of them.
    weight
        By which rows are shared: a rank's computing power, in the units of the corefile's speeds.
    """

    node_class: str
    nodes: int
    ranks_per_node: int
    weight: float = 1.0

    @property
    def ranks(self) -> int:
        """Ranks on all of its nodes."""
        return self.nodes * self.ranks_per_node


@dataclass(frozen=True)
class Layout:
    """All ranks of a job. Two layouts are equal if nothing that models know of tells them apart."""

    groups: tuple[RankGroup, ...]

    @classmethod
    def of_ranks(cls, nodes: Sequence[str], classes: Sequence[str], weights: Sequence[float]) -> Layout:
        """Group ranks, of each of which the node, that node's class, and the weight are given.

        Ranks of a class whose nodes hold equally many have one weight, their mean: a load balance gives each its own.
        """
        return cls(tuple(group for group, _ in grouped(nodes, classes, weights)))

    @cached_property
    def ranks(self) -> int:
        """All ranks."""
        return sum(group.ranks for group in self.groups)

    @cached_property
    def nodes(self) -> int:
        """All nodes."""
        return sum(group.nodes for group in self.groups)

    @cached_property
    def power(self) -> float:
        """The sum of all ranks' weights."""
        return sum(group.ranks * group.weight for group in self.groups)

    def largest_shares(self, rows: int | None = None) -> list[float]:
        """Return the part of all rows that the fullest rank of each group holds, shape ``(groups,)``.

        Parameters
        ----------
        rows
            How many there are, where whole rows are shared: of 10 rows on 3 equal ranks one has 4. None where they are so
            many, or differ so much in cost, that this does not count.
        """
        shares = [group.weight / self.power for group in self.groups]
        # Sharing by weight is not exact in floating point: 1/3 of 9 rows are 3, not 4.
        return shares if rows is None else [min(1.0, ceil(rows * share - 1e-6) / rows) for share in shares]


def grouped(
    nodes: Sequence[str], classes: Sequence[str], weights: Sequence[float]
) -> list[tuple[RankGroup, list[int]]]:
    """Group ranks as `Layout.of_ranks` does; with each group the numbers of its ranks."""
    on_node = Counter(nodes)
    members: dict[tuple[str, int], list[int]] = {}
    for rank, (node, node_class) in enumerate(zip(nodes, classes, strict=True)):
        members.setdefault((node_class, on_node[node]), []).append(rank)
    return [
        (RankGroup(node_class, len(ranks) // each, each, fmean(weights[rank] for rank in ranks)), ranks)
        for (node_class, each), ranks in sorted(members.items())
    ]
