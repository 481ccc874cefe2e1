"""Weights follow measured speeds, in the units of the weights before; the policy's patience."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.runtime.job.balance import PATIENCE, THRESHOLD, Hysteresis, imbalance, measured_weights

bounded = settings(derandomize=True, deadline=None, max_examples=60)
positive = st.floats(1e-3, 1e6)
ranks = st.integers(1, 12).flatmap(
    lambda size: st.tuples(*(st.lists(positive, min_size=size, max_size=size) for _ in range(3)))
)
with_idle_ranks = st.integers(1, 12).flatmap(
    lambda size: st.tuples(
        *(st.lists(st.just(0.0) | positive, min_size=size, max_size=size) for _ in range(2)),
        st.lists(positive, min_size=size, max_size=size),
    )
)


@bounded
@given(with_idle_ranks)
def test_the_sum_of_the_weights_is_kept_and_every_weight_is_positive(measured):
    load, busy_s, weights = measured
    new = measured_weights(load, busy_s, weights=weights)
    assert sum(new) == pytest.approx(sum(weights))
    assert len(new) == len(weights)
    assert all(weight > 0 for weight in new)


@bounded
@given(ranks)
def test_ranks_that_were_equally_busy_keep_weights_in_proportion_to_their_load(measured):
    load, _, weights = measured
    new = measured_weights(load, [2.0] * len(load), weights=weights)
    scale = sum(weights) / sum(load)
    assert new == pytest.approx([part * scale for part in load])


@bounded
@given(ranks)
def test_with_the_new_weights_all_would_have_computed_equally_long(measured):
    load, busy_s, weights = measured
    new = measured_weights(load, busy_s, weights=weights)
    time_of_load = [time_s / part for part, time_s in zip(load, busy_s, strict=True)]
    predicted_s = [weight * unit_s for weight, unit_s in zip(new, time_of_load, strict=True)]
    assert imbalance(predicted_s) == pytest.approx(0, abs=1e-6)


@bounded
@given(ranks)
def test_balancing_what_is_balanced_changes_nothing(measured):
    load, busy_s, weights = measured
    once = measured_weights(load, busy_s, weights=weights)
    unit_s = [time_s / part for part, time_s in zip(load, busy_s, strict=True)]
    again = measured_weights(once, [weight * each for weight, each in zip(once, unit_s, strict=True)], weights=once)
    assert again == pytest.approx(once)


@pytest.mark.parametrize("ranks_in_all", [2, 3, 7])
def test_a_rank_twice_as_slow_gets_half_the_weight_of_the_others(ranks_in_all):
    busy_s = [2.0] + [1.0] * (ranks_in_all - 1)
    slow, *others = measured_weights([10.0] * ranks_in_all, busy_s, weights=[100.0] * ranks_in_all)
    assert others == pytest.approx([2 * slow] * len(others))


def test_a_rank_without_load_keeps_its_weight_relative_to_the_others():
    # The two that computed are as fast as their weights said, so nothing changes for the third.
    assert measured_weights([20.0, 10.0, 0.0], [1.0, 1.0, 0.0], weights=[200.0, 100.0, 50.0]) == pytest.approx(
        (200.0, 100.0, 50.0)
    )


def test_a_rank_that_computed_without_taking_time_keeps_its_weight():
    assert measured_weights([10.0, 10.0], [0.0, 3.0], weights=[1.0, 1.0]) == pytest.approx((1.0, 1.0))


def test_where_nothing_was_measured_the_weights_stay():
    assert measured_weights([0.0, 5.0], [1.0, 0.0], weights=[3.0, 4.0]) == (3.0, 4.0)


def test_lists_of_different_lengths_are_an_error():
    with pytest.raises(ValueError):
        measured_weights([1.0], [1.0, 2.0], weights=[1.0, 1.0])


@pytest.mark.parametrize(
    ("busy_s", "expected"),
    [([1.0, 1.0], 0.0), ([2.0, 1.0], 1 / 3), ([3.0], 0.0), ([0.0, 0.0], 0.0), ([1.0, 0.0], 1.0)],
)
def test_imbalance_is_how_much_longer_than_the_mean_the_slowest_computes(busy_s, expected):
    assert imbalance(busy_s) == pytest.approx(expected)


OUT_OF_BALANCE = [1.0, 1.0 + 3 * THRESHOLD]


def test_it_takes_several_intervals_in_a_row_out_of_balance():
    state = Hysteresis()
    for _ in range(PATIENCE - 1):
        state = state.after(OUT_OF_BALANCE)
        assert not state.acts
    assert state.after(OUT_OF_BALANCE).acts
    assert not state.after([1.0, 1.0]).after(OUT_OF_BALANCE).acts


def test_an_imbalance_below_the_threshold_never_counts():
    state = Hysteresis()
    for _ in range(10 * PATIENCE):
        state = state.after([1.0, 1.0 + THRESHOLD])
    assert not state.acts


@bounded
@given(st.lists(st.booleans(), max_size=30), st.integers(1, 4))
def test_it_acts_exactly_after_so_many_in_a_row(history, patience):
    state = Hysteresis(patience=patience)
    for unbalanced in history:
        state = state.after(OUT_OF_BALANCE if unbalanced else [1.0, 1.0])
    assert state.acts == (len(history) >= patience and all(history[-patience:]))
