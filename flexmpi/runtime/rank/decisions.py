"""What the ranks of an application learn together at an agreement point. Plain frozen data, sent as it is."""

from __future__ import annotations

from dataclasses import dataclass

from flexmpi.runtime.job.places import Transition
from flexmpi.runtime.joining.plan import Plan


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
