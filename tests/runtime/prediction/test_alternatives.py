"""What a job could be: layouts, times, costs, and the bytes that would move."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flexmpi.models.estimate import Refusal
from flexmpi.models.job import JobModel
from flexmpi.models.power import Watts
from flexmpi.runtime.job.places import Transition
from flexmpi.runtime.prediction.alternatives import Alternative, Unknown, alternatives
from tests.runtime.prediction.situations import situation


def known(*arguments: object, combinations: list[tuple[int, int]], **options: object) -> list[Alternative]:
    found = alternatives(situation(*arguments, **options), combinations)
    assert not isinstance(found, Refusal | Unknown)
    return found


ONE_SLOW = (("slow1", 1),)


def test_the_present_layout_comes_first_and_none_comes_twice():
    found = known(ONE_SLOW, combinations=[(0, 1), (0, 2), (0, 2), (1, 1)])
    assert [dict(each.changes) for each in found] == [{}, {"slow1": 1}, {"fast1": 1}]
    assert [each.ranks for each in found] == [1, 2, 2]


def test_times_follow_the_computing_power_of_the_classes():
    present, slow, fast = known(ONE_SLOW, combinations=[(0, 2), (1, 1)])
    assert present.iteration_s == pytest.approx(1.0, rel=0.02)
    assert slow.iteration_s == pytest.approx(1 / 2, rel=0.02)
    # A fast rank has a weight of 2, by the corefile, and so two thirds of the rows.
    assert fast.iteration_s == pytest.approx(1 / 3, rel=0.02)


def test_the_end_is_counted_with_the_change_and_with_what_is_computed_while_new_ranks_start():
    present, other = known(ONE_SLOW, combinations=[(0, 2)], remaining=100)
    assert present.finish_s.value == pytest.approx(100, rel=0.02)
    assert 0 < other.cost.start_s.value < 0.3
    left = 100 - other.cost.start_s.value / present.iteration_s
    assert other.finish_s.value == pytest.approx(other.change_s + left * other.iteration_s)


def test_prices_and_watts_are_those_of_the_layout_or_a_refusal():
    watts = {"slow": Watts(50.0, 10.0), "fast": Watts(100.0, 20.0)}
    _, other = known(ONE_SLOW, combinations=[(1, 1)], watts=watts)
    assert other.rate == 12.0
    assert other.power_w.value == pytest.approx(180.0, rel=0.01)
    assert other.price == pytest.approx(12.0 * other.finish_s.value)
    assert other.energy_j == pytest.approx(180.0 * other.finish_s.value, rel=0.01)
    _, other = known(ONE_SLOW, combinations=[(1, 1)], priced=False)
    assert isinstance(other.price, Refusal)
    assert isinstance(other.energy_j, Refusal)


def test_far_away_from_what_was_measured_nothing_is_trusted():
    found = known(ONE_SLOW, combinations=[(0, 2), (0, 8)])
    assert [each.is_trusted for each in found] == [True, True, False]
    # Ranks that share a node and ranks that do not have been seen now.
    nearer = known(ONE_SLOW, (("slow1", 1), ("slow2", 1)), (("slow1", 4),), combinations=[(0, 8)])
    assert nearer[-1].is_trusted


def test_without_enough_intervals_there_are_no_alternatives():
    refused = alternatives(replace(situation(ONE_SLOW), model=JobModel()), [(0, 2)])
    assert isinstance(refused, Refusal)


def test_what_a_change_would_move_must_be_known_and_is_what_its_cost_is_predicted_by():
    now = situation(ONE_SLOW, moved_bytes={})
    asked = alternatives(now, [(0, 2), (1, 1), (0, 2)])
    assert asked == Unknown((Transition((1.0, 1.0), (1,)), Transition((1.0, 2.0), (1,))))
    known = alternatives(
        replace(now, moved_bytes=dict(zip(asked.transitions, (8, 80_000), strict=True))), [(0, 2), (1, 1)]
    )
    assert [each.resize.size_bytes for each in known] == [0, 8, 80_000]
    assert known[1].cost.move_s.value < known[2].cost.move_s.value
