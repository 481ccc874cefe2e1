"""What the ranks of an application tell each other at an agreement point. Plain frozen data, sent as they are."""

from __future__ import annotations

from dataclasses import dataclass

from flexmpi.runtime.distribution import Distribution
from flexmpi.runtime.places import members_places


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
class Transition:
    """A change of ranks that might happen: the weights of all its ranks, 0 for leavers, and the newcomers' places."""

    weights: tuple[float, ...]
    newcomers: tuple[int, ...]


@dataclass(frozen=True)
class Decision:
    """What all ranks learn at an agreement point: iterations until the next, what to do now, and other events to count.

    With ``unlink``, a reason, the newcomers that are connected are not to join after all. Of ``imagined`` changes the ranks
    are to find out how many bytes they would move.
    """

    interval: int
    plan: Plan | None = None
    terminate: bool = False
    counters: tuple[str, ...] | None = None
    unlink: str | None = None
    imagined: tuple[Transition, ...] = ()


@dataclass(frozen=True)
class Welcome:
    """What newcomers learn when they have joined: where the application is, who holds which rows, and what all count."""

    iteration: int
    interval: int
    plan: Plan
    distributions: dict[int, Distribution]
    counters: tuple[str, ...] = ()
