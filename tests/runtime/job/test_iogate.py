"""When I/O phases may begin, on a clock that the tests turn."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.runtime.job.iogate import GRANT_LIMIT_S, IOGate
from flexmpi.runtime.job.roster import RankId

bounded = settings(derandomize=True, deadline=None, max_examples=60)
FIRST, SECOND, THIRD = RankId(0, 0), RankId(0, 1), RankId(1, 0)


class Watch:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def gate(*, controlled: bool) -> tuple[IOGate, Watch]:
    watch = Watch()
    return IOGate(controlled, watch), watch


def test_without_a_controller_everybody_goes_on_at_once():
    free, _ = gate(controlled=False)
    assert free.ask(FIRST)
    assert free.admitted() == [FIRST]
    assert not free.ask(SECOND)
    assert free.admitted() == [SECOND]
    assert free.left_s() is None


def test_with_a_controller_a_phase_waits_for_its_grant_and_then_all_that_asked_go_on():
    held, watch = gate(controlled=True)
    assert held.ask(SECOND)
    assert not held.ask(FIRST)
    watch.now += GRANT_LIMIT_S / 2
    assert held.admitted() == []
    held.grant()
    assert held.admitted() == [FIRST, SECOND]


def test_who_comes_while_others_are_inside_belongs_to_their_phase():
    held, _ = gate(controlled=True)
    held.ask(FIRST)
    held.grant()
    held.admitted()
    assert not held.ask(SECOND)
    assert held.admitted() == [SECOND]


def test_a_phase_ends_with_its_last_rank_and_the_next_needs_a_grant_of_its_own():
    held, _ = gate(controlled=True)
    for rank in (FIRST, SECOND):
        held.ask(rank)
    held.grant()
    held.admitted()
    assert not held.leave(SECOND)
    assert held.leave(FIRST)
    assert held.ask(FIRST)
    assert held.admitted() == []


def test_a_controller_that_never_grants_does_not_hold_a_phase_for_ever():
    held, watch = gate(controlled=True)
    held.ask(FIRST)
    watch.now += GRANT_LIMIT_S
    assert held.admitted() == [FIRST]


def test_a_delay_holds_the_next_phase_and_only_that():
    free, watch = gate(controlled=False)
    free.delay(5.0)
    assert free.ask(FIRST)
    assert not free.ask(SECOND)
    assert (free.admitted(), free.left_s()) == ([], 5.0)
    watch.now += 5.0
    assert free.admitted() == [FIRST, SECOND]
    free.leave(FIRST), free.leave(SECOND)
    free.ask(FIRST)
    assert free.admitted() == [FIRST]


def test_a_delay_of_a_waiting_phase_counts_from_now():
    held, watch = gate(controlled=True)
    held.ask(FIRST)
    watch.now += 50.0
    held.delay(2.0)
    assert held.left_s() == 2.0
    watch.now += 2.0
    assert held.admitted() == [FIRST]


def test_a_grant_takes_a_delay_back():
    free, _ = gate(controlled=False)
    free.delay(1000.0)
    free.grant()
    free.ask(FIRST)
    assert free.admitted() == [FIRST]


def test_a_grant_that_nobody_waits_for_is_no_grant_of_a_later_phase():
    held, _ = gate(controlled=True)
    held.grant()
    held.ask(FIRST)
    assert held.admitted() == []


def test_a_rank_that_dies_while_it_waits_does_not_keep_the_phase_open():
    held, _ = gate(controlled=True)
    held.ask(FIRST)
    assert held.leave(FIRST)
    assert held.left_s() is None
    assert not held.leave(FIRST)


def test_an_application_that_ends_waits_for_nobody_any_more():
    held, _ = gate(controlled=True)
    held.delay(1000.0)
    held.ask(FIRST)
    held.open()
    assert held.admitted() == [FIRST]
    assert held.leave(FIRST)
    assert held.ask(SECOND)
    assert held.admitted() == [SECOND]


steps = st.lists(
    st.tuples(st.sampled_from(["ask", "leave", "grant", "delay", "wait"]), st.sampled_from([FIRST, SECOND, THIRD])),
    max_size=40,
)


@bounded
@given(st.booleans(), steps)
def test_no_rank_is_ever_forgotten(controlled, history):
    watched, watch = gate(controlled=controlled)
    waiting: set[RankId] = set()
    inside: set[RankId] = set()
    for what, rank in history:
        match what:
            case "ask" if rank not in waiting | inside:
                watched.ask(rank)
                waiting.add(rank)
            case "leave" if rank in inside:
                inside.discard(rank)
                assert watched.leave(rank) == (not inside and not waiting)
            case "grant":
                watched.grant()
            case "delay":
                watched.delay(3.0)
            case "wait":
                watch.now += 2.0
        admitted = set(watched.admitted())
        assert admitted <= waiting
        waiting -= admitted
        inside |= admitted
        assert (watched.left_s() is None) == (not waiting)
    watch.now += GRANT_LIMIT_S
    assert set(watched.admitted()) == waiting
