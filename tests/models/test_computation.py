"""The computing time that the model finds out, against jobs whose true times are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.models.estimate import Estimate, Refusal
from flexmpi.models.job import IterationTime, JobModel
from flexmpi.models.layout import Layout, RankGroup
from flexmpi.models.observation import MINIMUM_INTERVALS
from tests.models.jobs import equal_ranks, interval, model_of, on_nodes


def predicted(model: JobModel, layout: Layout) -> Estimate:
    time = model.iteration(layout)
    assert isinstance(time, IterationTime)
    return time.computation_s


def test_nothing_is_predicted_before_enough_intervals_were_measured():
    model = model_of(interval(on_nodes(2)), repeated=MINIMUM_INTERVALS)
    refused = model.iteration(equal_ranks(4))
    assert refused == Refusal("2 of 3 sampling intervals measured since the ranks last changed")
    assert isinstance(model.after(interval(on_nodes(2))).iteration(equal_ranks(4)), IterationTime)


def test_from_one_layout_time_divides_by_ranks_with_an_error_that_grows_with_the_distance():
    model = model_of(interval(on_nodes(2)))
    there = [predicted(model, equal_ranks(count)) for count in (2, 4, 8)]
    assert [each.value for each in there] == pytest.approx([0.5, 0.25, 0.125], rel=0.01)
    relative = [each.error / each.value for each in there]
    assert relative[0] < 0.03 < relative[1] < relative[2]


@settings(derandomize=True, max_examples=50, deadline=None)
@given(st.floats(0, 0.5), st.floats(0.1, 10), st.integers(1, 4), st.integers(5, 16))
def test_two_layouts_show_the_part_that_ranks_do_not_shorten(serial_s, parallel_s, few, many):
    seen = [interval(on_nodes(ranks), rows=10**6, serial_s=serial_s, parallel_s=parallel_s) for ranks in (few, many)]
    for ranks in (1, 3, 24):
        expected = serial_s + parallel_s / ranks
        there = predicted(model_of(*seen), equal_ranks(ranks))
        # From 4 and 5 ranks to 1 is far: the error says so.
        assert abs(there.value - expected) <= max(0.1 * expected, 3 * there.error)
        assert 0 < there.error < expected


@pytest.mark.parametrize("noise", [0.01, 0.05])
def test_the_truth_lies_within_three_standard_errors_of_nearly_all_predictions_from_noisy_intervals(noise):
    random = np.random.default_rng(7)
    hits = 0
    for _ in range(100):
        model = JobModel()
        for ranks in (1, 2, 4):
            for _ in range(6):
                model = model.after(interval(on_nodes(ranks), serial_s=0.05, noise=noise, random=random))
        there = predicted(model, equal_ranks(8))
        hits += abs(there.value - (0.05 + 1 / 8)) < 3 * there.error + 0.01
    assert hits >= 95


def test_whole_rows_count_where_there_are_few():
    model = model_of(interval(on_nodes(3), rows=12))
    assert predicted(model, equal_ranks(5)).value == pytest.approx(3 / 12, rel=0.02)
    assert predicted(model, equal_ranks(6)).value == pytest.approx(2 / 12, rel=0.02)


def test_the_speeds_of_classes_are_learnt_where_the_corefile_has_them_wrong():
    model = model_of(interval(["fast0", "slow0"], speeds={"fast": 3.0}))
    assert model.speeds["fast"] / model.speeds["slow"] == pytest.approx(3.0, rel=0.01)
    balanced = Layout((RankGroup("fast", 1, 1, 3.0), RankGroup("slow", 1, 1, 1.0)))
    assert predicted(model, balanced).value == pytest.approx(1 / 4, rel=0.02)
    assert predicted(model, equal_ranks(1, node_class="slow")).value == pytest.approx(1.0, rel=0.02)


def test_a_class_that_was_never_used_is_as_fast_as_its_weight_says():
    model = model_of(interval(on_nodes(2), weights=[2.0, 2.0]))
    grown = Layout((RankGroup("new", 1, 1, 4.0), RankGroup("node", 2, 1, 2.0)))
    assert predicted(model, grown).value == pytest.approx(1 / 4, rel=0.02)


def test_rows_that_are_shared_badly_make_the_slowest_rank_the_measure():
    model = model_of(interval(["fast0", "slow0"], speeds={"fast": 3.0}))
    assert predicted(model, model.history.present).value == pytest.approx(0.5, rel=0.01)


def test_ranks_that_share_a_node_slow_each_other_down_and_more_nodes_do_not():
    def shared(nodes: int, each: int) -> float:
        return (1 + 0.2 * (each - 1)) / (nodes * each)

    layouts = [(1, 1), (1, 2), (2, 1), (1, 4)]
    seen = [interval(on_nodes(nodes, each), parallel_s=shared(nodes, each) * nodes * each) for nodes, each in layouts]
    for nodes, each in [(2, 4), (4, 1), (2, 2)]:
        there = predicted(model_of(*seen), equal_ranks(nodes, each)).value
        assert there == pytest.approx(shared(nodes, each), rel=0.05)


def test_a_program_whose_iterations_become_longer_is_followed():
    model = model_of(interval(on_nodes(1), serial_s=0.1), interval(on_nodes(2), serial_s=0.1))
    for _ in range(20):
        model = model.after(interval(on_nodes(2), serial_s=0.2, parallel_s=2.0))
    assert predicted(model, equal_ranks(1)).value == pytest.approx(2.2, rel=0.15)


def test_another_loop_has_other_iterations():
    model = model_of(interval(on_nodes(2))).in_new_loop()
    assert isinstance(model.iteration(equal_ranks(2)), Refusal)


def test_a_program_without_rows_and_one_that_takes_no_time_are_predicted_too():
    without = predicted(model_of(interval(on_nodes(2), rows=0, serial_s=0.1)), equal_ranks(4))
    assert without.value == pytest.approx(0.1, rel=0.6)
    assert predicted(model_of(interval(on_nodes(2), parallel_s=0.0)), equal_ranks(4)).value == pytest.approx(
        0, abs=1e-9
    )
