"""What can happen in a handover, and what can be there to do: the alphabet of its machine, which is in ``handover``. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Timer(Enum):
    """What a handover waits for no longer than a limit; where the predecessor computes, and is to act, there is none."""

    START = "start"
    PLAN = "plan"
    HAND_OVER = "hand over"
    TAKE = "take"
    END = "end"


@dataclass(frozen=True)
class Declared:
    """Where a program has come to: the number of its loop, a checksum of what it has declared, and that itself as texts."""

    loop: int
    digest: int
    objects: tuple[str, ...] = ()


# What happens.


@dataclass(frozen=True)
class PlanningBegun:
    """The predecessor's ranks have come to an agreement point and stand still until they have planned."""


@dataclass(frozen=True)
class Planned:
    """The predecessor has said who is to have which rows."""


@dataclass(frozen=True)
class PlansAnew:
    """The plan does not do: the predecessor is to plan anew, and the successor's ranks wait for that."""


@dataclass(frozen=True)
class RankOpened:
    """A rank of the successor has opened its session, and waits for what it is to know of its world."""

    rank: int


@dataclass(frozen=True)
class RankReady:
    """A rank of the successor has come to a loop and sleeps."""

    rank: int
    declared: Declared


@dataclass(frozen=True)
class LoopBegan:
    """The predecessor has begun a loop, or declared something in it."""

    declared: Declared


@dataclass(frozen=True)
class Wanted:
    """A change that was only to be ready is to happen."""


@dataclass(frozen=True)
class Agreed:
    """The predecessor's ranks have come to an agreement point and stand still."""


@dataclass(frozen=True)
class Deferred:
    """The predecessor cannot hand over in this loop."""


@dataclass(frozen=True)
class HandedOver:
    """All that the predecessor's ranks hold can be taken; ``exclusive``: they have closed what only one may have open."""

    exclusive: bool = False


@dataclass(frozen=True)
class Taken:
    """All ranks of the successor have what they are to have."""


@dataclass(frozen=True)
class Refused:
    """The predecessor cannot hand over, or the successor cannot take; nobody's rows have changed."""

    why: str


@dataclass(frozen=True)
class SuccessorLost:
    """The successor has ended, or one of its ranks has."""

    why: str


@dataclass(frozen=True)
class SuccessorGone:
    """Nothing of the successor is left, on no node."""


@dataclass(frozen=True)
class PredecessorLost:
    """The predecessor has ended, or one of its ranks has, before its time."""

    why: str


@dataclass(frozen=True)
class ApplicationEnded:
    """The predecessor has come to the end of its session."""


@dataclass(frozen=True)
class Withdrawn:
    """Nobody wants the change any more."""

    why: str


@dataclass(frozen=True)
class TimeIsUp:
    """The limit of a timer has passed."""

    timer: Timer
    why: str


Event = (
    PlanningBegun | Planned | PlansAnew | RankOpened | RankReady | LoopBegan | Wanted | Agreed | Deferred | HandedOver | Taken
    | Refused | SuccessorLost | SuccessorGone | PredecessorLost | ApplicationEnded | Withdrawn | TimeIsUp
)  # fmt: skip


# What is to be done.


@dataclass(frozen=True)
class Welcome:
    """Tell ranks of the successor what their world is, and which rows they are to have."""

    ranks: tuple[int, ...]


@dataclass(frozen=True)
class Skip:
    """Tell ranks of the successor that the application is past their loop."""

    ranks: tuple[int, ...]
    loop: int


@dataclass(frozen=True)
class Offer:
    """Have the predecessor hand over at its next agreement point, if it is where the successor waits."""

    declared: Declared


@dataclass(frozen=True)
class Withdraw:
    """Tell the predecessor that the change is given up; it answers, unless it has begun to plan or has agreed before."""


@dataclass(frozen=True)
class Go:
    """The word to go: have the successor take what there is."""


@dataclass(frozen=True)
class TakeBack:
    """Have the predecessor compute on with what it holds; what it has closed is open to it again."""

    why: str


@dataclass(frozen=True)
class Begin:
    """Have the successor compute, and the predecessor end; from here on nothing can be given up."""


@dataclass(frozen=True)
class EndSuccessor:
    """End all ranks of the successor at once."""


@dataclass(frozen=True)
class FailJob:
    """There is no world left that could go on."""

    why: str


Instruction = Welcome | Skip | Offer | Withdraw | Go | TakeBack | Begin | EndSuccessor | FailJob
