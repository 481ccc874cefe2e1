"""What the agent learns of a job's iterations: from synthetic jobs whose true times are known."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.models.estimate import Refusal
from flexmpi.models.forecast import KEPT_SAMPLES, KEPT_SIZES, MINIMUM_SAMPLES, SKIPPED, Forecast, Samples


def names(count: int) -> list[str]:
    return [f"node{number}" for number in range(count)]


def measured(*visits: tuple[int, float], each: int = MINIMUM_SAMPLES, start: Samples | None = None) -> Samples:
    """What is known of a job that was on so many nodes with such iterations, one visit after the other."""
    samples = start or Samples()
    iteration = samples.iteration or 0
    for size, seconds in visits:
        for number in range(each + SKIPPED):
            iteration += 10
            samples = samples.after(names(size), iteration=iteration, iteration_s=seconds, now=iteration + number)
    return samples


def fitted(samples: Samples) -> Forecast:
    forecast = Forecast.fitted(samples)
    assert isinstance(forecast, Forecast)
    return forecast


def test_nothing_is_forecast_from_fewer_samples_than_are_needed():
    refused = Forecast.fitted(measured((2, 1.0), each=MINIMUM_SAMPLES - 1))
    assert isinstance(refused, Refusal)
    assert refused.why.startswith("2 of 3 samples")


def test_from_one_size_time_divides_by_nodes_with_an_error_that_grows_with_the_distance():
    forecast = fitted(measured((2, 1.0)))
    assert forecast.iteration_s(2).value == pytest.approx(1.0, rel=0.01)
    assert forecast.iteration_s(4).value == pytest.approx(0.5, rel=0.02)
    assert forecast.iteration_s(2).error < forecast.iteration_s(3).error < forecast.iteration_s(8).error
    assert forecast.iteration_s(8).error > 0.3 * forecast.iteration_s(8).value


@settings(derandomize=True, deadline=None, max_examples=60)
@given(serial=st.floats(0, 2), parallel=st.floats(0.5, 8), sizes=st.sets(st.integers(1, 12), min_size=3, max_size=5))
def test_from_three_sizes_the_true_times_are_found(serial: float, parallel: float, sizes: set[int]) -> None:
    forecast = fitted(measured(*((size, serial + parallel / size) for size in sizes), each=6))
    for nodes in sizes:
        assert forecast.iteration_s(nodes).value == pytest.approx(serial + parallel / nodes, rel=0.05)
    for term in (forecast.serial, forecast.parallel, forecast.per_node):
        assert term.value >= 0


def test_the_first_samples_after_a_change_of_nodes_are_not_learnt_from():
    samples = measured((2, 1.0))
    for number in range(SKIPPED):
        samples = samples.after(names(3), iteration=1000 + number, iteration_s=50.0, now=1000.0)
    assert set(samples.by_size) == {2}
    samples = samples.after(names(3), iteration=2000, iteration_s=0.7, now=1001.0)
    assert [one.iteration_s for one in samples.by_size[3]] == [0.7]


def test_as_many_nodes_with_other_names_are_a_change_too():
    samples = measured((2, 1.0)).after(["node7", "node8"], iteration=5000, iteration_s=9.0, now=100.0)
    assert {one.iteration_s for one in samples.by_size[2]} == {1.0}


def test_an_interval_that_is_told_of_twice_counts_once():
    samples = measured((2, 1.0))
    again = samples.after(names(2), iteration=samples.iteration or 0, iteration_s=1.0, now=99.0)
    assert again.count == samples.count


def test_old_samples_fade_before_new_ones():
    samples = measured((4, 1.0), (2, 1.0))
    # Hours later the same sizes take other times; the old ones of size 4 say little against the new ones of size 2.
    for number in range(KEPT_SAMPLES):
        samples = samples.after(names(2), iteration=9000 + number, iteration_s=8.0, now=40_000.0 + number)
    forecast = fitted(samples)
    assert forecast.iteration_s(2).value == pytest.approx(8.0, rel=0.01)
    assert forecast.iteration_s(4).value == pytest.approx(4.0, rel=0.1)


def test_what_is_kept_is_bounded():
    samples = measured(*((size, 1.0) for size in range(1, KEPT_SIZES + 10)), each=KEPT_SAMPLES + 3)
    assert len(samples.by_size) == KEPT_SIZES
    assert max(map(len, samples.by_size.values())) == KEPT_SAMPLES
    assert KEPT_SIZES + 9 in samples.by_size


def test_a_sample_without_ranks_or_time_teaches_nothing():
    samples = Samples()
    for number in range(10):
        samples = samples.after([], iteration=number, iteration_s=1.0, now=0.0)
    for number in range(10, 20):
        samples = samples.after(names(1), iteration=number, iteration_s=0.0, now=0.0)
    assert samples.count == 0


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    serial=st.floats(0, 1),
    parallel=st.floats(0.1, 8),
    per_node=st.floats(0, 0.2),
    low=st.integers(1, 9),
    more=st.integers(0, 30),
)
def test_the_fastest_size_is_found_without_trying_all(
    serial: float, parallel: float, per_node: float, low: int, more: int
) -> None:
    visits = ((size, serial + parallel / size + per_node * (size - 1)) for size in (1, 3, 8))
    forecast = fitted(measured(*visits))
    found = forecast.fastest(minimum=low, maximum=low + more)
    assert forecast.iteration_s(found).value == pytest.approx(
        min(forecast.iteration_s(size).value for size in range(low, low + more + 1))
    )


@settings(derandomize=True, deadline=None, max_examples=150)
@given(
    told=st.lists(
        st.tuples(st.integers(1, 40), st.floats(0, allow_nan=False, allow_infinity=False)), min_size=1, max_size=6
    )
)
def test_whatever_a_job_tells_there_is_a_finite_forecast_or_none(told: list[tuple[int, float]]) -> None:
    forecast = measured(*told).forecast
    if isinstance(forecast, Forecast):
        for nodes in (1, 7, 1000):
            estimate = forecast.iteration_s(nodes)
            assert 0 <= estimate.value < 1e12
            assert 0 <= estimate.error < 1e12
            assert 0 <= forecast.speed(nodes, minimum=1) < 1e30
