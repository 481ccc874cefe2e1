"""What a rank measures in a sampling interval, and how it arrives at rank 0."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.runtime.communicator import Clock
from flexmpi.runtime.sampling import TIMES, Sample, Sampler, as_columns

COUNT = st.none() | st.integers(0, 2**53)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.floats(0, 1e6), COUNT, COUNT), min_size=1, max_size=8))
def test_what_ranks_measured_arrives_by_its_names_with_none_for_what_is_missing(measured):
    samples = [Sample(time, time / 2, time / 3, time / 4, counts) for time, *counts in measured]
    columns = as_columns(np.array([sample.as_array() for sample in samples]), ["PAPI_TOT_INS", "PAPI_TOT_CYC"])
    for name in TIMES:
        assert columns[name] == [getattr(sample, name) for sample in samples]
    assert columns["counters"] == {
        "PAPI_TOT_INS": [sample.counts[0] for sample in samples],
        "PAPI_TOT_CYC": [sample.counts[1] for sample in samples],
    }


def test_without_events_nothing_is_counted():
    sampler = Sampler(Clock())
    assert sampler.take().counts == ()
    assert sampler.take().as_array().shape == (len(TIMES),)


def test_an_interval_has_what_was_counted_in_it(fake_papi):
    sampler = Sampler(Clock(), ["PAPI_TOT_INS", "PAPI_FP_OPS"])
    assert sampler.take().counts == (1_000_000, None)
    assert sampler.take().counts == (2_000_000, None)
    sampler.restart()
    assert sampler.take().counts == (1_000_000, None)
    assert sampler.refused == {"PAPI_FP_OPS": "Event does not exist (PAPI_ENOEVNT)"}


def test_other_events_are_counted_from_the_moment_they_are_followed(fake_papi):
    sampler = Sampler(Clock(), ["PAPI_TOT_INS"])
    sampler.follow(["PAPI_DP_OPS", "PAPI_TOT_INS"])
    assert (sampler.events, sampler.take().counts) == (("PAPI_DP_OPS", "PAPI_TOT_INS"), (300_000, 1_000_000))
    sampler.follow([])
    assert (sampler.events, sampler.take().counts) == ((), ())


def test_the_clocks_of_communication_and_io_are_those_of_the_session():
    clock = Clock()
    sampler = Sampler(clock)
    clock.communication_s += 0.25
    clock.io_s += 0.5
    sample = sampler.take()
    assert (sample.communication_s, sample.io_s) == (0.25, 0.5)
    assert sample.real_s == pytest.approx(0.0, abs=10.0)
