"""What a layout costs, and what it burns."""

from __future__ import annotations

import pytest

from flexmpi.models.estimate import Estimate, Refusal
from flexmpi.models.job import JobModel
from flexmpi.models.layout import Layout, RankGroup
from flexmpi.models.power import EnergySample, Power, Watts
from flexmpi.models.price import Price
from tests.models.jobs import equal_ranks, interval, model_of, on_nodes


def test_the_price_is_that_of_every_process_for_every_second():
    price = Price({"cheap": 2.0, "dear": 10.0})
    layout = Layout((RankGroup("cheap", 3, 4), RankGroup("dear", 1, 1)))
    assert price.rate(layout) == 34.0
    assert price.predict(layout, Estimate(10.0, 1.0)) == Estimate(340.0, 34.0)


def test_a_class_without_a_cost_has_no_price():
    refused = Price({"cheap": 2.0, "free": 0.0}).predict(equal_ranks(1, node_class="free"), Estimate(1.0, 0.0))
    assert refused == Refusal("the corefile has no cost for free")


def energy(busy_cores: float, *, idle_w: float = 100.0, core_w: float = 8.0) -> EnergySample:
    return EnergySample("node", seconds=2.0, energy_j=2 * (idle_w + core_w * busy_cores), processor_s=2 * busy_cores)


def test_idle_and_dynamic_power_are_fitted_to_energy_samples():
    power = Power()
    for busy_cores in (1.0, 4.0, 2.0, 4.0):
        power = power.after(energy(busy_cores))
    watts = power.node("node", busy_cores=8.0)
    assert isinstance(watts, Estimate)
    assert watts.value == pytest.approx(164.0, rel=0.05)
    assert watts.source == "learnt"


def test_while_utilisation_has_not_varied_the_total_is_known_and_its_parts_are_not():
    power = Power()
    for _ in range(4):
        power = power.after(energy(4.0))
    here, idle = power.node("node", busy_cores=4.0), power.node("node", busy_cores=0.0)
    assert isinstance(here, Estimate)
    assert isinstance(idle, Estimate)
    assert here.value == pytest.approx(132.0, rel=0.01)
    assert idle.error / idle.value > 0.3 > 0.03 > here.error / here.value


def test_a_node_that_was_nearly_idle_does_not_make_a_core_take_many_times_its_watts():
    power = Power()
    for _ in range(4):
        power = power.after(energy(0.01))
    idle, busy = (power.node("node", busy_cores=cores) for cores in (0.01, 2.0))
    assert isinstance(idle, Estimate)
    assert isinstance(busy, Estimate)
    assert busy.value < 3 * idle.value
    assert busy.error > busy.value / 3


def test_a_meter_that_stood_still_for_a_while_is_a_sample_like_another():
    power = Power()
    for joules in (0.0, 120.0, 0.0, 120.0):
        power = power.after(EnergySample("node", seconds=1.0, energy_j=joules, processor_s=0.01))
    watts = power.node("node", busy_cores=0.01)
    assert isinstance(watts, Estimate)
    assert watts.value == pytest.approx(60.0, rel=0.05)
    assert watts.error > 10.0


def test_declared_watts_stand_in_and_say_so_until_there_are_enough_samples():
    power = Power({"node": Watts(idle_w=90.0, core_w=10.0)}).after(energy(4.0))
    watts = power.predict(equal_ranks(3, 4), processor_share=0.5)
    assert watts == Estimate(330.0, 82.5, "declared")


def test_a_class_with_neither_samples_nor_declared_watts_is_refused_whatever_the_others_have():
    layout = Layout((RankGroup("node", 1, 1), RankGroup("other", 1, 1)))
    refused = Power({"node": Watts(1.0, 1.0)}).predict(layout, processor_share=1.0)
    assert refused == Refusal("0 of 3 energy samples of a node of class other, and no watts declared for it")


def test_the_processor_share_of_the_present_ranks_is_that_of_others():
    model = model_of(interval(on_nodes(2)))
    assert isinstance(JobModel().power_w(equal_ranks(2)), Refusal)
    for busy_cores in (1.0, 2.0, 4.0):
        model = model.after_energy(energy(busy_cores))
    watts = model.power_w(equal_ranks(2, 8))
    assert isinstance(watts, Estimate)
    assert watts.value == pytest.approx(2 * 164, rel=0.05)
