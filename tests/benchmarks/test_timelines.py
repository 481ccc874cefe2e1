"""What a change cost is read off the times at which iterations began, whatever world they were in."""

from __future__ import annotations

from itertools import accumulate

import pytest

from benchmarks.timelines import NEIGHBOURS, SETTLED, Timeline

QUIET = 2 * SETTLED
NORMAL_S = 2.0


def worlds_of(*lengths: list[float], gap_s: float = 0.5) -> list[dict[str, object]]:
    """Return what worlds say whose iterations have these lengths; between two it takes ``gap_s`` more."""
    worlds: list[dict[str, object]] = []
    now = 100.0
    for number, each in enumerate(lengths):
        begins = list(accumulate(each[:-1], initial=now))
        now = begins[-1] + each[-1]
        worlds.append({"begins": begins, "changes": [0] if number else [], "end": now})
        now += gap_s
    return worlds


def quiet(count: int, length_s: float = NORMAL_S) -> list[float]:
    return [length_s] * count


def test_the_iteration_between_two_worlds_is_felt_and_their_standstill_told() -> None:
    old, new = quiet(QUIET), quiet(QUIET)
    worlds = worlds_of(old, new, gap_s=0.5)
    ordered = 100.0 + NORMAL_S * (QUIET - 5) + 0.1
    timeline = Timeline.of(worlds[::-1], [ordered])  # in whatever order they have said it
    assert timeline.changes == [QUIET]
    assert timeline.felt_s == pytest.approx([0.5]) and timeline.standstills == pytest.approx([0.5])
    assert timeline.lost_s == pytest.approx([0.5])


def test_a_longer_first_iteration_is_what_is_felt_and_slow_ones_before_the_change_are_lost_work() -> None:
    slowed = [*quiet(QUIET), *quiet(10, NORMAL_S + 1.0)]
    new = [NORMAL_S + 3.0, *quiet(QUIET)]
    ordered = 100.0 + NORMAL_S * QUIET + 0.1
    timeline = Timeline.of(worlds_of(slowed, new, gap_s=0.5), [ordered])
    assert timeline.felt_s == pytest.approx([3.0])
    assert timeline.lost_s == pytest.approx([10 * 1.0 + 0.5 + 3.0])


def test_what_is_normal_is_told_by_iterations_with_as_many_ranks_that_nothing_disturbs() -> None:
    slowed = [*quiet(QUIET), *quiet(3 * QUIET, 2 * NORMAL_S)]
    timeline = Timeline.of(worlds_of(slowed, quiet(QUIET, 5.0), gap_s=0.5), [100.0 + NORMAL_S * QUIET + 0.1])
    assert timeline.normal_s == pytest.approx([NORMAL_S, 5.0])
    assert timeline.felt_s == pytest.approx([NORMAL_S + 0.5])


def test_a_world_that_changes_by_itself_tells_where_and_has_no_standstill() -> None:
    lengths = quiet(2 * QUIET)
    lengths[QUIET - 1] += 0.25
    (world,) = worlds_of(lengths)
    timeline = Timeline.of([{**world, "changes": [QUIET]}], [100.0 + NORMAL_S * (QUIET - 3)])
    assert timeline.felt_s == pytest.approx([0.25]) and timeline.standstills == []


def test_iterations_in_which_the_program_checks_its_data_are_no_lost_work() -> None:
    lengths = quiet(2 * QUIET)
    lengths[QUIET + NEIGHBOURS] += 7.0
    (world,) = worlds_of(lengths)
    timeline = Timeline.of([{**world, "changes": [QUIET]}], [100.0 + NORMAL_S * (QUIET - 3)])
    assert timeline.lost_s == pytest.approx([0.0]) and timeline.felt_s == pytest.approx([0.0])


def test_a_change_that_the_program_has_not_seen_is_an_error() -> None:
    with pytest.raises(ValueError, match="2 changes were ordered, and the program has seen 1"):
        Timeline.of(worlds_of(quiet(QUIET), quiet(QUIET)), [1.0, 2.0])
