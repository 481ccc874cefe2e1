"""What a job's processes cost: the corefile's price of a process for a second, times processes and seconds.

That is the original FlexMPI's accounting, Σ processes · Δt · cost. Nothing is learnt: the corefile declares the prices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flexmpi.models.estimate import Estimate, Refusal
from flexmpi.models.layout import Layout


@dataclass(frozen=True)
class Price:
    """Prices of a process for a second, by class of nodes."""

    cost: Mapping[str, float]

    def rate(self, layout: Layout) -> float | Refusal:
        """Return what a layout costs a second; refused where the corefile has no cost for one of its classes."""
        missing = [group.node_class for group in layout.groups if self.cost.get(group.node_class, 0.0) <= 0]
        if missing:
            return Refusal(f"the corefile has no cost for {', '.join(missing)}")
        return sum(group.ranks * self.cost[group.node_class] for group in layout.groups)

    def predict(self, layout: Layout, seconds: Estimate) -> Estimate | Refusal:
        """Return what it costs to keep a layout for a time."""
        rate = self.rate(layout)
        return rate if isinstance(rate, Refusal) else seconds.scaled(rate)
