from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.controller.iotoken import IOToken, Turn


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def token(clock: Clock | None = None, *, limit_s: float = 120.0) -> IOToken:
    return IOToken(clock or Clock(), limit_s=limit_s)


def test_a_free_token_is_granted_at_once_and_only_once() -> None:
    free = token()
    assert free.turn() is None
    free.ask(3)
    assert free.turn() == Turn(3, waited_s=0.0)
    assert (free.turn(), free.left_s()) == (None, None)


def test_the_longest_waiting_is_next_whatever_its_number() -> None:
    clock = Clock()
    held = token(clock)
    for number in (5, 9, 1, 7):
        held.ask(number)
        held.turn()
        clock.now += 1
    order = []
    while held.holder is not None:
        held.release(held.holder)
        if (turn := held.turn()) is None:
            break
        order.append((turn.granted, turn.waited_s))
    assert order == [(9, 3.0), (1, 2.0), (7, 1.0)]


def test_asking_again_while_waiting_keeps_the_place() -> None:
    held = token()
    for number in (0, 1, 2, 1, 1):
        held.ask(number)
        held.turn()
    held.release(0)
    turn = held.turn()
    assert turn is not None and turn.granted == 1


def test_a_holder_that_asks_again_has_lost_its_release_and_goes_to_the_end() -> None:
    held = token()
    held.ask(0)
    held.turn()
    held.ask(1)
    held.ask(0)
    turn = held.turn()
    assert turn is not None and turn.granted == 1
    assert list(held.waiting) == [0]


def test_one_that_ends_or_gives_up_while_it_waits_is_not_granted() -> None:
    held = token()
    for number in (0, 1, 2):
        held.ask(number)
    held.turn()
    held.release(1)
    held.release(0)
    turn = held.turn()
    assert turn is not None and turn.granted == 2


def test_the_token_passes_on_when_its_holders_time_is_over_and_a_late_release_changes_nothing() -> None:
    clock = Clock()
    held = token(clock, limit_s=10.0)
    held.ask(0)
    held.turn()
    clock.now = 4.0
    held.ask(1)
    assert (held.turn(), held.left_s()) == (None, 6.0)
    clock.now = 10.0
    assert held.left_s() == 0.0
    assert held.turn() == Turn(1, waited_s=6.0, overdue=0)
    held.release(0)
    assert held.holder == 1
    held.ask(2)
    assert held.turn() is None


def test_a_holder_keeps_the_token_as_long_as_nobody_waits() -> None:
    clock = Clock()
    held = token(clock, limit_s=10.0)
    held.ask(0)
    held.turn()
    clock.now = 1e6
    assert (held.turn(), held.left_s(), held.holder) == (None, None, 0)


EVENTS = st.lists(st.tuples(st.sampled_from(["ask", "release", "wait"]), st.integers(0, 4)), max_size=60)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(EVENTS)
def test_nobody_overtakes_nobody_starves_and_one_at_a_time_has_the_token(events: list[tuple[str, int]]) -> None:
    clock = Clock()
    shared = token(clock, limit_s=7.0)
    queue: list[int] = []
    for kind, number in events:
        if kind == "ask":
            shared.ask(number)
            queue += [number] if number not in queue else []
        elif kind == "release":
            shared.release(number)
            queue = [each for each in queue if each != number]
        else:
            clock.now += number
        before = shared.holder
        while (turn := shared.turn()) is not None:
            assert turn.granted == queue.pop(0)
            assert turn.overdue == before
            assert shared.holder == turn.granted
            before = shared.holder
        assert list(shared.waiting) == queue
        # Whoever waits is granted without anybody's doing within the limit for each one before it.
        assert not queue or shared.holder is not None
    for place in range(len(queue)):
        clock.now += 7.0
        turn = shared.turn()
        assert turn is not None and turn.granted == queue[place]
