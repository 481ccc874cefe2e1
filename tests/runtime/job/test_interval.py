"""How far apart agreement points are: by iterations, or by the time that iterations have taken."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.errors import ConfigurationError
from flexmpi.runtime.job.interval import LARGEST_GROWTH, Interval


@pytest.mark.parametrize(
    ("text", "interval"),
    [
        ("100", Interval(iterations=100)),
        ("1", Interval(iterations=1)),
        ("0.5s", Interval(seconds=0.5)),
        (".25s", Interval(seconds=0.25)),
        ("2s", Interval(seconds=2.0)),
    ],
)
def test_an_interval_is_iterations_or_seconds(text, interval):
    assert Interval.parse(text) == interval


@pytest.mark.parametrize("text", ["0", "-5", "0s", "1.5", "s", "0.5 s", "5m", "1e3", "", "٣"])
def test_what_is_neither_is_refused(text):
    expected = re.escape(f"the interval must be iterations (100) or seconds (0.5s), got {text!r}")
    with pytest.raises(ConfigurationError, match=expected):
        Interval.parse(text)


@settings(derandomize=True, deadline=None)
@given(length=st.integers(1, 1000), iteration=st.integers(0, 10**6), seconds=st.none() | st.floats(0, 1e3))
def test_by_iterations_agreement_points_are_at_the_multiples(length, iteration, seconds):
    following = iteration + Interval(iterations=length).next_length(iteration, previous=length, iteration_s=seconds)
    assert iteration < following <= iteration + length
    assert following % length == 0


def test_by_time_the_first_iteration_is_measured_alone():
    assert Interval(seconds=0.5).next_length(0, previous=0, iteration_s=None) == 1


@settings(derandomize=True, deadline=None)
@given(seconds=st.floats(1e-3, 1e3), previous=st.integers(1, 10**9), iteration_s=st.floats(0, 1e4))
def test_by_time_an_interval_lasts_as_long_as_wanted_but_grows_step_by_step(seconds, previous, iteration_s):
    length = Interval(seconds=seconds).next_length(7, previous=previous, iteration_s=iteration_s)
    assert 1 <= length <= LARGEST_GROWTH * previous
    if length > 1:
        assert length * iteration_s <= seconds * (1 + 1e-9)
    if length < LARGEST_GROWTH * previous:
        assert (length + 1) * max(iteration_s, 1e-9) > seconds * (1 - 1e-9)
