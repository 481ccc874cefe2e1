"""The machine of a handover: what has happened goes in, what is to be done comes out.

Pure: no clock, no process, no message. The supervisor feeds it events and carries out its instructions, in their order. All that
can meet is a row of the table at the end of `step`; until `Begin` a change can be given up, and the predecessor goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from flexmpi.runtime.job.diagnosis import difference
from flexmpi.runtime.job.handover_events import (
    Agreed,
    ApplicationEnded,
    Begin,
    Declared,
    Deferred,
    EndSuccessor,
    Event,
    FailJob,
    Go,
    HandedOver,
    Instruction,
    LoopBegan,
    Offer,
    Planned,
    PlanningBegun,
    PlansAnew,
    PredecessorLost,
    RankOpened,
    RankReady,
    Refused,
    Skip,
    SuccessorGone,
    SuccessorLost,
    TakeBack,
    Taken,
    TimeIsUp,
    Timer,
    Wanted,
    Welcome,
    Withdraw,
    Withdrawn,
)


class Phase(Enum):
    """How far a handover has come.

    STARTING: the successor's ranks start, declare, and come to the application's loop. PLANNING: meanwhile the predecessor's
    stand still and plan who is to have which rows. READY: all sleep at the loop, until the change is wanted. OFFERED: the
    predecessor, which computes, is to hand over at its next agreement point. HANDING: its ranks stand still and make ready what
    they hold. TAKING: the successor takes it. GIVING_UP: the successor is ended, and the predecessor has to be heard, which may
    be about to plan or to hand over. TAKING_BACK: the successor may have open what only one can have, so it has to be gone
    before the predecessor computes on.
    """

    STARTING = "starting"
    PLANNING = "planning"
    READY = "ready"
    OFFERED = "offered"
    HANDING = "handing over"
    TAKING = "taking"
    GIVING_UP = "giving up"
    TAKING_BACK = "taking back"
    DONE = "done"
    DROPPED = "dropped"
    LOST = "lost"


OVER = frozenset({Phase.DONE, Phase.DROPPED, Phase.LOST})


@dataclass(frozen=True)
class Handover:
    """One handover.

    Attributes
    ----------
    size
        The successor's ranks.
    application
        Where the predecessor is.
    wanted
        Whether it is to happen as soon as it can; else the successor is only to be ready.
    planned
        Whether the predecessor has said who is to have which rows.
    opened, ready
        The successor's ranks that have opened their session, and those that sleep, with what they have declared.
    orphaned
        Whether the predecessor is gone, though the successor can take what it held.
    exclusive
        Whether the predecessor has closed something that only one may have open.
    timer
        What is waited for with a limit.
    why
        Why it is given up, where it is.
    """

    size: int
    application: Declared
    wanted: bool = True
    phase: Phase = Phase.STARTING
    planned: bool = False
    opened: frozenset[int] = frozenset()
    ready: Mapping[int, Declared] = field(default_factory=dict)
    orphaned: str | None = None
    exclusive: bool = False
    timer: Timer | None = Timer.START
    why: str | None = None

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.phase in OVER

    @property
    def is_starting(self) -> bool:
        """Whether the successor's ranks are still on their way to the loop."""
        return self.phase in (Phase.STARTING, Phase.PLANNING)

    @property
    def reason(self) -> str:
        """Why it did not come about."""
        return self.why or ""


Step = tuple[Handover, tuple[Instruction, ...]]


def step(now: Handover, event: Event) -> Step:
    """Return what a handover is after an event, and what is to be done, in this order.

    Events that come too late, of a rank that has been ended, an order that is over or a timer that runs no more, change nothing.
    """
    if now.over:
        return now, ()
    match now.phase, event:
        case _, TimeIsUp(timer) if timer is not now.timer:
            return now, ()
        case _, LoopBegan(declared):
            return _look(replace(now, application=declared))
        case _, Wanted():
            return _look(replace(now, wanted=True))

        case Phase.TAKING, PredecessorLost(why):
            # All that it held is there: the successor can do without it.
            return replace(now, orphaned=why), ()
        case _, PredecessorLost(why):
            return _lost(now, why)
        case phase, ApplicationEnded() if phase not in (Phase.TAKING, Phase.TAKING_BACK):
            return _dropped(now, now.why or "the application ended first")

        case Phase.STARTING, PlanningBegun():
            return replace(now, phase=Phase.PLANNING, timer=Timer.PLAN), ()
        case Phase.PLANNING, RankOpened(rank):
            return replace(now, opened=now.opened | {rank}), ()
        case Phase.PLANNING, Refused(why):
            return _dropped(now, why)
        case Phase.PLANNING, (SuccessorLost(why) | Withdrawn(why)):
            return _giving_up(now, why)
        case ((Phase.STARTING | Phase.PLANNING), Planned()):
            waiting = tuple(sorted(now.opened))
            now = replace(now, phase=Phase.STARTING, planned=True, timer=Timer.START)
            return now, (Welcome(waiting),) if waiting else ()
        case Phase.STARTING, PlansAnew():
            return replace(now, planned=False, timer=None if len(now.opened) == now.size else now.timer), ()
        case Phase.STARTING, RankOpened(rank):
            return _opened(now, rank)
        case Phase.STARTING, RankReady(rank, declared):
            return _look(replace(now, ready={**now.ready, rank: declared}))
        case Phase.STARTING, (SuccessorLost(why) | Withdrawn(why) | TimeIsUp(Timer.START, why)) if not now.planned:
            return _giving_up(now, why, Withdraw())
        case Phase.STARTING, TimeIsUp(Timer.START, why):
            return _dropped(now, why)
        case ((Phase.STARTING | Phase.READY), (Refused(why) | SuccessorLost(why) | Withdrawn(why))):
            return _dropped(now, why)

        case Phase.OFFERED, Agreed():
            return replace(now, phase=Phase.HANDING, timer=Timer.HAND_OVER), ()
        case Phase.OFFERED, HandedOver(exclusive):
            return _taking(now, exclusive=exclusive)
        case Phase.OFFERED, Deferred():
            return _look(replace(now, phase=Phase.STARTING, timer=Timer.START))
        case Phase.OFFERED, Refused(why):
            return _dropped(now, why)
        case Phase.OFFERED, (SuccessorLost(why) | Withdrawn(why)):
            return _giving_up(now, why, Withdraw())

        case Phase.HANDING, HandedOver(exclusive):
            return _taking(now, exclusive=exclusive)
        case Phase.HANDING, SuccessorLost(why):
            return _giving_up(now, why)
        case Phase.HANDING, (Refused(why)):
            return _dropped(now, why)

        case Phase.GIVING_UP, PlanningBegun():
            return replace(now, timer=Timer.PLAN), ()
        case Phase.GIVING_UP, Agreed():
            return replace(now, timer=Timer.HAND_OVER), ()
        case Phase.GIVING_UP, HandedOver():
            return _dropped(now, now.reason, taken_back=True)
        case Phase.GIVING_UP, (Planned() | Refused() | Deferred()):
            return _dropped(now, now.reason)

        case Phase.TAKING, Taken():
            return replace(now, phase=Phase.DONE, timer=None), (Begin(),)
        case Phase.TAKING, (Refused(why) | SuccessorLost(why) | TimeIsUp(Timer.TAKE, why)):
            return _not_taken(now, why)

        case Phase.TAKING_BACK, (SuccessorGone() | TimeIsUp(Timer.END)):
            return replace(now, phase=Phase.DROPPED, timer=None), (TakeBack(now.reason),)

        case ((Phase.PLANNING | Phase.HANDING | Phase.GIVING_UP), TimeIsUp((Timer.PLAN | Timer.HAND_OVER), why)):
            # They stand still together, and cannot go on without the one that hangs.
            return _lost(now, why)
    return now, ()


def _opened(now: Handover, rank: int) -> Step:
    """Welcome a rank, if it is known what to; when all wait for that the predecessor has as long as it computes."""
    opened = now.opened | {rank}
    if now.planned:
        return replace(now, opened=opened), (Welcome((rank,)),)
    return replace(now, opened=opened, timer=None if len(opened) == now.size else now.timer), ()


def _look(now: Handover) -> Step:
    """Compare where the successor's ranks are with where the application is."""
    if now.phase not in (Phase.STARTING, Phase.READY):
        return now, ()
    loop = now.application.loop
    behind = tuple(sorted(rank for rank, declared in now.ready.items() if declared.loop < loop))
    if behind:
        there = {rank: declared for rank, declared in now.ready.items() if rank not in behind}
        return replace(now, ready=there, phase=Phase.STARTING, timer=Timer.START), (Skip(behind, loop),)
    if len(now.ready) < now.size:
        return now, ()
    if any(declared.digest != now.application.digest for declared in now.ready.values()):
        other = next(each for each in now.ready.values() if each.digest != now.application.digest)
        return _dropped(now, difference(other.objects, now.application.objects))
    if now.wanted:
        return replace(now, phase=Phase.OFFERED, timer=None), (Offer(now.application),)
    return replace(now, phase=Phase.READY, timer=None), ()


def _taking(now: Handover, *, exclusive: bool) -> Step:
    return replace(now, phase=Phase.TAKING, timer=Timer.TAKE, exclusive=exclusive), (Go(),)


def _not_taken(now: Handover, why: str) -> Step:
    """Have the predecessor compute on: at once, or when the successor has let go of what only one may have open."""
    if now.orphaned is not None:
        return _lost(now, f"{now.orphaned}; {why}")
    if now.exclusive:
        return replace(now, phase=Phase.TAKING_BACK, timer=Timer.END, why=why), (EndSuccessor(),)
    return _dropped(now, why, taken_back=True)


def _dropped(now: Handover, why: str, *, taken_back: bool = False) -> Step:
    """Give it up; the predecessor, where it stands still, is told to compute on."""
    told = (TakeBack(why),) if taken_back else ()
    return replace(now, phase=Phase.DROPPED, timer=None, why=why), (*told, *_ending(now))


def _giving_up(now: Handover, why: str, *told: Instruction) -> Step:
    """Give it up, when the predecessor has been heard: where it stands still there is a limit, and none where it computes."""
    timer = None if now.timer is Timer.START else now.timer
    return replace(now, phase=Phase.GIVING_UP, timer=timer, why=why), (*told, EndSuccessor())


def _lost(now: Handover, why: str) -> Step:
    return replace(now, phase=Phase.LOST, timer=None, why=why), (*_ending(now), FailJob(why))


def _ending(now: Handover) -> tuple[Instruction, ...]:
    """Have the successor end, unless that has been done."""
    return () if now.phase in (Phase.GIVING_UP, Phase.TAKING_BACK) else (EndSuccessor(),)
