"""Latencies and times per byte that the model finds out, by class of calls."""

from __future__ import annotations

from math import ceil, log2

import pytest

from flexmpi.models.communication import CLASSES, LATENCY_PRIOR_S
from flexmpi.models.job import IterationTime, JobModel
from flexmpi.models.observation import UNCLASSIFIED
from tests.models.jobs import equal_ranks, interval, model_of, on_nodes

LATENCY_S, BYTE_S = 5e-5, 2e-9
BYTES = {"reduction": 1e6, "gathering": 8e6, "broadcast": 1e5, "point-to-point": 4e5, "barrier": 0.0}


def seconds(name: str, ranks: int) -> float:
    known = CLASSES[name]
    return 3 * LATENCY_S * known.steps(ranks) + BYTES[name] * BYTE_S * known.volume(ranks)


def calls(name: str, ranks: int) -> dict[str, list[float]]:
    return {name: [3.0, BYTES[name], seconds(name, ranks)]}


def predicted(model: JobModel, ranks: int) -> IterationTime:
    time = model.iteration(equal_ranks(ranks))
    assert isinstance(time, IterationTime)
    return time


@pytest.mark.parametrize("name", BYTES)
def test_two_sizes_show_latency_and_time_per_byte_of_each_class(name):
    seen = [interval(on_nodes(ranks), operations=calls(name, ranks)) for ranks in (2, 8)]
    model = model_of(*seen)
    for ranks in (4, 16):
        found = predicted(model, ranks).communication_s
        assert found.value == pytest.approx(seconds(name, ranks), rel=0.05)


def test_the_part_of_a_rank_in_an_exchange_of_all_with_all_becomes_smaller():
    def exchanged(ranks: int) -> dict[str, list[float]]:
        part = 8e6 / ranks
        return {"all-to-all": [1.0, part, (ranks - 1) * LATENCY_S + part * BYTE_S * (ranks - 1) / ranks]}

    model = model_of(*[interval(on_nodes(ranks), operations=exchanged(ranks)) for ranks in (2, 4)])
    found = predicted(model, 8).communication_s
    assert found.value == pytest.approx(exchanged(8)["all-to-all"][2], rel=0.1)


def test_one_size_is_enough_and_the_error_grows_with_the_distance():
    model = model_of(interval(on_nodes(4), operations=calls("reduction", 4)))
    here, near, far = (predicted(model, ranks).communication_s for ranks in (4, 8, 32))
    assert here.value == pytest.approx(seconds("reduction", 4), rel=0.02)
    assert near.value == pytest.approx(seconds("reduction", 8), rel=0.1)
    assert here.error / here.value < near.error / near.value < far.error / far.value


def test_time_that_belongs_to_no_class_grows_with_the_rounds_of_a_tree():
    model = model_of(interval(on_nodes(2), communication_s=0.01))
    assert set(model.history.latest.operations) == {UNCLASSIFIED}
    found = predicted(model, 16).communication_s
    assert found.value == pytest.approx(0.01 * ceil(log2(16)), rel=0.05)


def test_a_rank_alone_makes_its_calls_for_nearly_nothing():
    model = model_of(interval(on_nodes(2), operations=calls("reduction", 2)))
    assert 0 < predicted(model, 1).communication_s.value < 0.1 * seconds("reduction", 2)


@pytest.mark.parametrize("name", BYTES)
def test_what_calls_take_on_one_rank_stays_on_several(name):
    def taken(ranks: int) -> dict[str, list[float]]:
        overhead_s = 3 * 2e-5 + BYTES[name] * 1e-9 * CLASSES[name].own(ranks)
        return {name: [3.0, BYTES[name], overhead_s + seconds(name, ranks)]}

    model = model_of(*[interval(on_nodes(ranks), operations=taken(ranks)) for ranks in (1, 2, 8)])
    for ranks in (1, 4):
        assert predicted(model, ranks).communication_s.value == pytest.approx(taken(ranks)[name][2], rel=0.1)


def test_a_job_that_never_had_two_ranks_is_predicted_with_declared_communication_and_says_so():
    alone = predicted(model_of(interval(on_nodes(1), operations={"reduction": [1.0, 8.0, 1e-3]})), 2)
    assert alone.communication_s.source == "declared"
    assert alone.communication_s.value == pytest.approx(1e-3 + LATENCY_PRIOR_S, rel=0.05)
    assert alone.caveat == "communication declared: no call between two ranks has been timed yet"
    assert alone.total_s.value == pytest.approx(0.501, rel=0.01)
    assert alone.total_s.error > alone.learnt_error * alone.total_s.value


def test_a_job_that_does_not_communicate_has_nothing_to_predict():
    alone = predicted(model_of(interval(on_nodes(1))), 2)
    assert (alone.communication_s.value, alone.caveat) == (0, "")


def test_the_time_of_an_iteration_is_the_sum_of_its_parts():
    whole = predicted(model_of(interval(on_nodes(2), operations=calls("gathering", 2))), 2)
    assert whole.total_s.value == pytest.approx(0.5 + seconds("gathering", 2), rel=0.02)
    assert whole.total_s.error >= max(whole.computation_s.error, whole.communication_s.error)
