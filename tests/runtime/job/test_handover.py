"""Every race of a handover is a row here, and whatever meets, no job is left waiting for ever."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from flexmpi.runtime.job.handover import Handover, Phase, step
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

FIRST, SECOND = Declared(0, 11, ("a",)), Declared(1, 12, ("a", "b"))
PLANNING = (PlanningBegun(),)
OPENED = (*PLANNING, Planned(), RankOpened(0), RankOpened(1))
AT_LOOP = (*OPENED, RankReady(0, FIRST), RankReady(1, FIRST))
HANDING = (*AT_LOOP, Agreed())
TAKING = (*HANDING, HandedOver())
CLOSED = (*HANDING, HandedOver(exclusive=True))


def after(*events: Event, size: int = 2, wanted: bool = True) -> tuple[Handover, list[Instruction]]:
    """Return what has become of a handover, and all its instructions."""
    now, told = Handover(size, FIRST, wanted=wanted), []
    for event in events:
        now, instructions = step(now, event)
        told += instructions
    return now, told


def test_a_handover_goes_its_way() -> None:
    now, told = after(*TAKING, Taken())
    assert told == [Welcome((0,)), Welcome((1,)), Offer(FIRST), Go(), Begin()]
    assert (now.phase, now.timer) == (Phase.DONE, None)


def test_ranks_that_open_their_session_before_the_rows_are_planned_are_told_later() -> None:
    assert after(RankOpened(1), *PLANNING, RankOpened(0), Planned())[1] == [Welcome((0, 1))]


def test_a_predecessor_that_computes_has_its_time_to_plan_and_the_new_ranks_theirs_from_then_on() -> None:
    assert after(RankOpened(0))[0].timer is Timer.START
    assert after(RankOpened(0), RankOpened(1))[0].timer is None
    assert after(RankOpened(0), RankOpened(1), Planned())[0].timer is Timer.START
    assert after(Planned(), RankOpened(0), RankOpened(1))[0].timer is Timer.START
    anew = (*OPENED, PlansAnew())
    assert after(*anew)[0].timer is None
    assert after(*anew, *PLANNING)[0].timer is Timer.PLAN
    assert after(*anew, *PLANNING, Planned()) == (after(*OPENED)[0], [Welcome((0,)), Welcome((1,)), Welcome((0, 1))])


def test_a_successor_that_is_only_to_be_ready_waits_without_a_limit_until_it_is_wanted() -> None:
    now, told = after(*AT_LOOP, wanted=False)
    assert (now.phase, now.timer) == (Phase.READY, None)
    assert Offer(FIRST) not in told
    assert step(now, Wanted())[1] == (Offer(FIRST),)


def test_ranks_skip_the_loops_that_the_application_has_finished() -> None:
    now, told = after(*AT_LOOP[:-1], LoopBegan(SECOND), RankReady(1, FIRST))
    assert told[-2:] == [Skip((0,), 1), Skip((1,), 1)]
    assert now.timer is Timer.START
    now, told = after(*AT_LOOP[:-1], LoopBegan(SECOND), RankReady(1, FIRST), RankReady(0, SECOND), RankReady(1, SECOND))
    assert told[-1] == Offer(SECOND)


def test_a_loop_that_begins_after_the_offer_was_made_defers_it() -> None:
    now, told = after(*AT_LOOP, LoopBegan(SECOND), Deferred())
    assert told[-1] == Skip((0, 1), 1)
    assert (now.phase, now.timer) == (Phase.STARTING, Timer.START)


def test_a_successor_that_declares_something_else_is_dropped_and_the_difference_is_told() -> None:
    now, told = after(*OPENED, RankReady(0, FIRST), RankReady(1, Declared(0, 13, ("c",))))
    assert told[-1] == EndSuccessor()
    assert now.why == "a new rank declared c, the application a; every rank must declare the same objects"


GONE = SuccessorLost("gone")
ROWS: list[tuple[tuple[Event, ...], list[Instruction], Phase]] = [
    # The successor is lost while it starts, declares, waits, is offered, is handed over to, takes.
    ((*OPENED, GONE), [EndSuccessor()], Phase.DROPPED),
    ((*AT_LOOP, GONE), [Withdraw(), EndSuccessor()], Phase.GIVING_UP),
    ((*AT_LOOP, GONE, Refused("it was withdrawn")), [], Phase.DROPPED),
    ((*AT_LOOP, GONE, Deferred()), [], Phase.DROPPED),
    ((*AT_LOOP, GONE, Agreed()), [], Phase.GIVING_UP),
    ((*AT_LOOP, GONE, Agreed(), HandedOver()), [TakeBack("gone")], Phase.DROPPED),
    ((*HANDING, GONE), [EndSuccessor()], Phase.GIVING_UP),
    ((*HANDING, GONE, HandedOver()), [TakeBack("gone")], Phase.DROPPED),
    # Before the predecessor has planned for it; that may be about to.
    ((GONE,), [Withdraw(), EndSuccessor()], Phase.GIVING_UP),
    ((GONE, Refused("it was withdrawn")), [], Phase.DROPPED),
    ((GONE, *PLANNING), [], Phase.GIVING_UP),
    ((GONE, *PLANNING, Planned()), [], Phase.DROPPED),
    ((*PLANNING, GONE), [EndSuccessor()], Phase.GIVING_UP),
    ((*PLANNING, GONE, Planned()), [], Phase.DROPPED),
    ((TimeIsUp(Timer.START, "late"),), [Withdraw(), EndSuccessor()], Phase.GIVING_UP),
    ((*TAKING, GONE), [TakeBack("gone"), EndSuccessor()], Phase.DROPPED),
    ((*TAKING, Taken(), GONE), [], Phase.DONE),
    # It cannot take, or is too slow.
    ((*TAKING, Refused("no memory")), [TakeBack("no memory"), EndSuccessor()], Phase.DROPPED),
    ((*TAKING, TimeIsUp(Timer.TAKE, "late")), [TakeBack("late"), EndSuccessor()], Phase.DROPPED),
    ((*OPENED, TimeIsUp(Timer.START, "late")), [EndSuccessor()], Phase.DROPPED),
    # A timer runs no more when its limit passes: the predecessor computes.
    ((RankOpened(0), RankOpened(1), TimeIsUp(Timer.START, "late")), [], Phase.STARTING),
    ((*AT_LOOP, GONE, TimeIsUp(Timer.HAND_OVER, "hangs")), [], Phase.GIVING_UP),
    # An order is withdrawn.
    ((*OPENED, Withdrawn("enough")), [EndSuccessor()], Phase.DROPPED),
    ((*PLANNING, Withdrawn("enough")), [EndSuccessor()], Phase.GIVING_UP),
    ((*AT_LOOP, Withdrawn("enough")), [Withdraw(), EndSuccessor()], Phase.GIVING_UP),
    ((*AT_LOOP, Withdrawn("enough"), HandedOver()), [TakeBack("enough")], Phase.DROPPED),
    ((*HANDING, Withdrawn("enough")), [], Phase.HANDING),
    ((*TAKING, Withdrawn("enough")), [], Phase.TAKING),
    # The application ends meanwhile, or refuses.
    ((*OPENED, ApplicationEnded()), [EndSuccessor()], Phase.DROPPED),
    ((*AT_LOOP, ApplicationEnded()), [EndSuccessor()], Phase.DROPPED),
    ((*AT_LOOP, GONE, ApplicationEnded()), [], Phase.DROPPED),
    ((GONE, ApplicationEnded()), [], Phase.DROPPED),
    ((*PLANNING, Refused("no memory")), [EndSuccessor()], Phase.DROPPED),
    ((*AT_LOOP, Refused("its state")), [EndSuccessor()], Phase.DROPPED),
    ((*HANDING, Refused("no memory")), [EndSuccessor()], Phase.DROPPED),
    # The predecessor is lost, or hangs while it plans or makes ready what it holds.
    ((*PLANNING, PredecessorLost("dead")), [EndSuccessor(), FailJob("dead")], Phase.LOST),
    ((*PLANNING, TimeIsUp(Timer.PLAN, "hangs")), [EndSuccessor(), FailJob("hangs")], Phase.LOST),
    ((*PLANNING, GONE, TimeIsUp(Timer.PLAN, "hangs")), [FailJob("hangs")], Phase.LOST),
    ((GONE, *PLANNING, TimeIsUp(Timer.PLAN, "hangs")), [FailJob("hangs")], Phase.LOST),
    ((*OPENED, PredecessorLost("dead")), [EndSuccessor(), FailJob("dead")], Phase.LOST),
    ((*HANDING, PredecessorLost("dead")), [EndSuccessor(), FailJob("dead")], Phase.LOST),
    ((*HANDING, TimeIsUp(Timer.HAND_OVER, "hangs")), [EndSuccessor(), FailJob("hangs")], Phase.LOST),
    ((*AT_LOOP, GONE, Agreed(), TimeIsUp(Timer.HAND_OVER, "hangs")), [FailJob("hangs")], Phase.LOST),
    ((*TAKING, PredecessorLost("dead")), [], Phase.TAKING),
    ((*TAKING, PredecessorLost("dead"), Taken()), [Begin()], Phase.DONE),
    ((*TAKING, PredecessorLost("dead"), GONE), [EndSuccessor(), FailJob("dead; gone")], Phase.LOST),
    # The predecessor has closed what only one may have open: its successor has to be gone before it opens that again.
    ((*CLOSED, Refused("port 7 is taken")), [EndSuccessor()], Phase.TAKING_BACK),
    ((*CLOSED, GONE), [EndSuccessor()], Phase.TAKING_BACK),
    ((*CLOSED, TimeIsUp(Timer.TAKE, "late")), [EndSuccessor()], Phase.TAKING_BACK),
    ((*CLOSED, GONE, SuccessorGone()), [TakeBack("gone")], Phase.DROPPED),
    ((*CLOSED, Refused("port 7 is taken"), GONE), [], Phase.TAKING_BACK),
    ((*CLOSED, Refused("port 7 is taken"), GONE, SuccessorGone()), [TakeBack("port 7 is taken")], Phase.DROPPED),
    ((*CLOSED, GONE, TimeIsUp(Timer.END, "it does not end")), [TakeBack("gone")], Phase.DROPPED),
    ((*CLOSED, GONE, PredecessorLost("dead")), [FailJob("dead")], Phase.LOST),
    ((*CLOSED, GONE, Taken()), [], Phase.TAKING_BACK),
    ((*CLOSED, PredecessorLost("dead"), GONE), [EndSuccessor(), FailJob("dead; gone")], Phase.LOST),
    ((*CLOSED, Taken()), [Begin()], Phase.DONE),
    ((*CLOSED, Taken(), SuccessorGone()), [], Phase.DONE),
    ((*TAKING, SuccessorGone()), [], Phase.TAKING),
]


@pytest.mark.parametrize(("events", "told", "phase"), ROWS)
def test_of_whatever_meets_each_has_its_answer(
    events: tuple[Event, ...], told: list[Instruction], phase: Phase
) -> None:
    now, everything = after(*events)
    before = len(after(*events[:-1])[1])
    assert (everything[before:], now.phase) == (told, phase)


DECLARED = st.sampled_from([FIRST, SECOND, Declared(1, 13, ("c",)), Declared(2, 14)])
RANKS = st.integers(0, 1)
WHY = st.sampled_from(["one thing", "another"])
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.sampled_from(
        [PlanningBegun(), Planned(), PlansAnew(), Wanted(), Agreed(), Deferred(), Taken(), ApplicationEnded()]
    ),
    st.just(SuccessorGone()),
    st.builds(HandedOver, st.booleans()),
    st.builds(RankOpened, RANKS),
    st.builds(RankReady, RANKS, DECLARED),
    st.builds(LoopBegan, DECLARED),
    st.builds(Refused, WHY),
    st.builds(SuccessorLost, WHY),
    st.builds(PredecessorLost, WHY),
    st.builds(Withdrawn, WHY),
    st.builds(TimeIsUp, st.sampled_from(Timer), WHY),
)
# Most of the way at once, for a random sequence seldom gets far.
SEQUENCES = st.tuples(
    st.sampled_from([(), PLANNING, OPENED, AT_LOOP, HANDING, TAKING, CLOSED]), st.lists(EVENTS, max_size=12)
).map(lambda parts: [*parts[0], *parts[1]])
ENDS = (TakeBack, Begin, FailJob)


@given(SEQUENCES, st.booleans())
def test_a_predecessor_that_stands_still_is_told_once_what_becomes_of_it(events: list[Event], wanted: bool) -> None:
    now, told = after(*events, wanted=wanted)
    assert sum(isinstance(each, ENDS) for each in told) <= 1
    is_ended = now.over or now.phase in (Phase.GIVING_UP, Phase.TAKING_BACK)
    assert told.count(EndSuccessor()) + told.count(Begin()) == is_ended
    if told.count(Go()) and now.over:
        assert sum(isinstance(each, ENDS) for each in told) == 1
    if now.over:
        assert all(step(now, event) == (now, ()) for event in events)


@given(SEQUENCES)
def test_what_only_one_may_have_is_not_open_to_the_predecessor_before_its_successor_is_ended(
    events: list[Event],
) -> None:
    now, told = after(*events)
    if now.exclusive and any(isinstance(each, TakeBack) for each in told):
        assert [type(each) for each in told[-2:]] == [EndSuccessor, TakeBack]


@given(SEQUENCES, st.booleans())
def test_whatever_happens_nobody_waits_for_ever(events: list[Event], wanted: bool) -> None:
    """Where neither side says anything more there is a limit, unless the predecessor computes."""
    now, _ = after(*events, wanted=wanted)
    while now.timer is not None:
        timer = now.timer
        now, _ = step(now, TimeIsUp(timer, "late"))
        assert now.timer is not timer
    is_to_plan = now.phase is Phase.STARTING and not now.planned
    computes = now.phase in (Phase.READY, Phase.OFFERED, Phase.GIVING_UP) or is_to_plan
    assert now.over or computes
    if now.phase is Phase.GIVING_UP:
        assert step(now, Refused("it was withdrawn"))[0].over
    if now.phase is Phase.GIVING_UP or is_to_plan:
        assert step(now, PlanningBegun())[0].timer is Timer.PLAN
    if now.phase in (Phase.GIVING_UP, Phase.OFFERED):
        assert step(now, Agreed())[0].timer is Timer.HAND_OVER


TO_PLAN = [(), OPENED[2:], (*OPENED, PlansAnew()), (GONE,), (Withdrawn("enough"),), (TimeIsUp(Timer.START, "late"),)]
ENDS_PLANNING = (Planned, Refused, PredecessorLost, ApplicationEnded, TimeIsUp, Agreed, Deferred, HandedOver)
"""Of these the predecessor says none, and does not end, while its ranks stand still and plan."""
MEANWHILE = EVENTS.filter(lambda event: not isinstance(event, ENDS_PLANNING))


@given(st.sampled_from(TO_PLAN), st.lists(MEANWHILE, max_size=12))
def test_while_the_predecessor_plans_there_is_a_limit_whatever_becomes_of_the_change(
    before: tuple[Event, ...], meanwhile: list[Event]
) -> None:
    now, _ = after(*before, PlanningBegun(), *meanwhile)
    assert not now.over and now.timer is Timer.PLAN
    now, told = step(now, TimeIsUp(Timer.PLAN, "hangs"))
    assert now.phase is Phase.LOST and told[-1] == FailJob("hangs")
