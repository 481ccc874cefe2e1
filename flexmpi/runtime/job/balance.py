"""Load balancing: from what ranks measured to the weights by which rows are shared.

Pure. A weight is a rank's computing power, in the units of the corefile's speeds; rows are shared in proportion to it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from flexmpi.runtime.job.places import interleaved

THRESHOLD = 0.15
"""Imbalance from which the policy acts: the original FlexMPI's threshold."""

PATIENCE = 2
"""Intervals in a row that must show the imbalance, so that a single disturbance moves no data."""


def imbalance(busy_s: Sequence[float]) -> float:
    """Return how much the slowest rank computes longer than the mean: max / mean - 1; 0 is perfect balance."""
    total_s = sum(busy_s)
    return max(busy_s) * len(busy_s) / total_s - 1 if total_s > 0 else 0.0


def measured_weights(load: Sequence[float], busy_s: Sequence[float], *, weights: Sequence[float]) -> tuple[float, ...]:
    """Return the weights that would have made all ranks compute equally long.

    A rank's speed is its load over its computing time. The result has the sum of ``weights``, so that it stays in the units of
    the corefile's speeds and a newcomer's first weight can stand beside it.

    Parameters
    ----------
    load
        What each rank computed with: its rows, or their cost; shape ``(ranks,)``.
    busy_s
        How long each computed, communication and I/O left out, in seconds.
    weights
        The present weights. A rank that had no load or took no time keeps its present weight relative to the others.

    Returns
    -------
    tuple of float
        One weight > 0 for each rank.
    """
    measured = [part > 0 and time_s > 0 for part, time_s in zip(load, busy_s, strict=True)]
    if not any(measured):
        return tuple(weights)
    speeds = [part / time_s if known else 0.0 for part, time_s, known in zip(load, busy_s, measured, strict=True)]
    speed_of_weight = sum(speeds) / sum(weight for weight, known in zip(weights, measured, strict=True) if known)
    filled = [
        speed if known else weight * speed_of_weight
        for speed, weight, known in zip(speeds, weights, measured, strict=True)
    ]
    scale = sum(weights) / sum(filled)
    return tuple(speed * scale for speed in filled)


@dataclass(frozen=True)
class Hysteresis:
    """When the policy ``balance`` acts: not before several intervals in a row were out of balance.

    Attributes
    ----------
    threshold
        The imbalance (see `imbalance`) above which an interval counts.
    patience
        How many such intervals in a row it takes.
    seen
        How many there have been.
    """

    threshold: float = THRESHOLD
    patience: int = PATIENCE
    seen: int = 0

    def after(self, busy_s: Sequence[float]) -> Hysteresis:
        """Return the state after one more interval."""
        seen = self.seen + 1 if imbalance(busy_s) > self.threshold else 0
        return Hysteresis(self.threshold, self.patience, seen)

    @property
    def acts(self) -> bool:
        """Whether it is time to balance."""
        return self.seen >= self.patience


def weights_after(
    weights: Sequence[float], *, leaving: Collection[int], newcomers: Sequence[float], places: Sequence[int]
) -> tuple[float, ...]:
    """Return the weights over the ranks of a transition: 0 for leavers, the nodes' speeds for newcomers at their places."""
    staying = [0.0 if rank in leaving else weight for rank, weight in enumerate(weights)]
    return tuple(interleaved(staying, newcomers, places))
