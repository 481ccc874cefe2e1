"""What a rank measures in a sampling interval, and how it arrives at rank 0."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.models.communication import CLASSES
from flexmpi.models.observation import UNCLASSIFIED
from flexmpi.runtime.communication.calls import CLASS_NAMES, Clock, class_of, size_bytes
from flexmpi.runtime.communication.communicator import BLOCKING, NONBLOCKING
from flexmpi.runtime.rank.sampling import NO_OPERATIONS, OF_A_CLASS, TIMES, Sample, Sampler, as_columns

COUNT = st.none() | st.integers(0, 2**53)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.floats(0, 1e6), COUNT, COUNT), min_size=1, max_size=8))
def test_what_ranks_measured_arrives_by_its_names_with_none_for_what_is_missing(measured):
    called = [(3.0, 24.0, 0.5), *NO_OPERATIONS[1:]]
    samples = [Sample(time, time / 2, time / 3, time / 4, tuple(called), counts) for time, *counts in measured]
    columns = as_columns(np.array([sample.as_array() for sample in samples]), ["PAPI_TOT_INS", "PAPI_TOT_CYC"])
    for name in TIMES:
        assert columns[name] == [getattr(sample, name) for sample in samples]
    assert columns["operations"] == {CLASS_NAMES[0]: [[3.0, 24.0, 0.5]] * len(samples)}
    assert columns["counters"] == {
        "PAPI_TOT_INS": [sample.counts[0] for sample in samples],
        "PAPI_TOT_CYC": [sample.counts[1] for sample in samples],
    }


def test_without_events_nothing_is_counted():
    sampler = Sampler(Clock())
    assert sampler.take().counts == ()
    assert sampler.take().as_array().shape == (len(TIMES) + OF_A_CLASS * len(CLASS_NAMES),)


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
    clock.seconds[1] += 0.25
    clock.io_s += 0.5
    sample = sampler.take()
    assert (sample.communication_s, sample.io_s) == (0.25, 0.5)
    assert sample.real_s == pytest.approx(0.0, abs=10.0)


def test_calls_are_counted_while_the_first_iteration_lasts_and_timed_always():
    clock = Clock()
    sampler = Sampler(clock)
    clock.count(2, [np.zeros(10)])
    clock.seconds[2] += 0.125
    clock.looking = False
    clock.seconds[2] += 0.25
    sample = sampler.take()
    assert sample.operations[2] == (1, 80, 0.375)
    assert sample.communication_s == 0.375
    sampler.restart()
    assert clock.looking
    assert sampler.take().operations == NO_OPERATIONS


def test_the_classes_of_calls_are_those_that_the_models_know():
    assert {*CLASS_NAMES, UNCLASSIFIED} == set(CLASSES)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        ("Allreduce", "reduction"),
        ("iallreduce", "reduction"),
        ("Ireduce_scatter_block", "reduction"),
        ("bcast", "broadcast"),
        ("Ibcast", "broadcast"),
        ("Allgatherv", "gathering"),
        ("Iscatter", "gathering"),
        ("Alltoallw", "all-to-all"),
        ("Ibarrier", "barrier"),
        ("Isend", "point-to-point"),
        ("Irecv", "point-to-point"),
        ("Isendrecv", "point-to-point"),
        ("Probe", "point-to-point"),
    ],
)
def test_a_call_is_of_its_class(call, name):
    assert CLASS_NAMES[class_of(call)] == name
    assert call in (*BLOCKING, *NONBLOCKING) or call == "iallreduce"


def test_the_bytes_of_a_call_are_those_of_its_largest_buffer():
    part, whole = np.zeros(4), np.zeros(8)
    assert size_bytes([part, [whole, [4, 4]]]) == 64
    assert size_bytes([[part, 4, "d"], 3]) == 32
    assert size_bytes([np.float64(1.0)]) == 8
    assert size_bytes([{"pickled": 1}, None, []]) == 0
