"""What ranks tell each other of a reconfiguration: the plan, and what newcomers must know. Plain frozen data, sent as it is."""

from __future__ import annotations

from dataclasses import dataclass

from flexmpi.runtime.arrays.distribution import Distribution
from flexmpi.runtime.job.places import members_places


@dataclass(frozen=True)
class Plan:
    """A reconfiguration as rank 0 tells it to the others; ranks are those of the transition, where newcomers have their places.

    With ``ahead`` it is the first of two steps: newcomers connect, and constant rows move while the application computes on.
    """

    reconfiguration: int
    newcomers: tuple[int, ...]
    leaving: tuple[int, ...]
    parking: tuple[int, ...]
    weights: tuple[float, ...]
    accept_timeout_s: float
    ahead: bool = False

    @property
    def first_member(self) -> int:
        """The place of the present rank 0, which knows what newcomers do not."""
        return members_places(len(self.weights), self.newcomers)[0]


@dataclass(frozen=True)
class Welcome:
    """What newcomers learn when they have joined: where the application is, who holds which rows, and what all count."""

    iteration: int
    interval: int
    plan: Plan
    distributions: dict[int, Distribution]
    counters: tuple[str, ...] = ()
