"""Watts of nodes, as an administrator has declared or jobs have measured them, and the cap on what all may draw together. Pure.

A node draws its idle watts while it is powered, and its dynamic watts on top of that while a job has it. So a job's size
decides over dynamic watts only. Every figure says where it comes from; how watts are measured is in `metering`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from flexmpi.cluster.state import Node, NodeState

OFF = frozenset({NodeState.POWERED_DOWN, NodeState.DOWN, NodeState.FUTURE})
BUSY = frozenset({NodeState.ALLOCATED, NodeState.MIXED, NodeState.COMPLETING})

Source = Literal["declared", "measured"]
"""Of watts: an administrator's word, or meters of processors and memory that jobs have read."""


@dataclass(frozen=True)
class Watts:
    """What a node draws: when powered, and on top of that when a job has it."""

    idle_w: float
    dynamic_w: float
    source: Source = "declared"


@dataclass(frozen=True)
class Power:
    """What nodes draw and may draw.

    Attributes
    ----------
    watts
        By node. One that is not in it counts nothing, and is not given out while there is a cap.
    cap_w
        What all nodes may draw together; None without a cap.
    others_w
        What is drawn whatever sizes elastic jobs have: by powered nodes when idle, and by those that other jobs have.
    """

    watts: Mapping[str, Watts] = field(default_factory=dict)
    cap_w: float | None = None
    others_w: float = 0.0

    def dynamic_w(self, nodes: Iterable[str]) -> float:
        """Return what nodes draw on top of their idle watts while a job has them."""
        return sum(self.watts[node].dynamic_w for node in nodes if node in self.watts)

    def total_w(self, nodes: Iterable[str]) -> float | None:
        """Return what nodes draw while a job has them; None where that is not known of one of them."""
        each = [self.watts.get(node) for node in nodes]
        return None if None in each else sum(watts.idle_w + watts.dynamic_w for watts in each if watts is not None)

    def source_of(self, nodes: Iterable[str]) -> Source:
        """Return where the watts of nodes come from; what is partly declared counts as declared."""
        sources = {self.watts[node].source for node in nodes if node in self.watts}
        return "measured" if sources == {"measured"} else "declared"

    def may_be_given(self, node: str) -> bool:
        """Whether a node can be given out: with a cap, only where it is known what it draws."""
        return self.cap_w is None or node in self.watts

    def left_w(self, elastic: Iterable[str]) -> float:
        """Return what the cap leaves beside these nodes of elastic jobs; below 0 where they draw too much."""
        return float("inf") if self.cap_w is None else self.cap_w - self.others_w - self.dynamic_w(elastic)


UNCAPPED = Power()
"""No watts are known, and there is no cap."""


def drawn_by_others(nodes: Iterable[Node], watts_of: Mapping[str, Watts], elastic: frozenset[str]) -> float:
    """Return what nodes draw whatever sizes the elastic jobs have that hold some of them."""
    total = 0.0
    for node in nodes:
        watts = watts_of.get(node.name)
        if watts is None or not OFF.isdisjoint(node.states):
            continue
        busy = node.name not in elastic and not BUSY.isdisjoint(node.states)
        total += watts.idle_w + (watts.dynamic_w if busy else 0.0)
    return total
