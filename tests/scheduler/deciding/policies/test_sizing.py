"""The policies that choose sizes for all jobs together, against enumeration of all sizes and by what people would expect."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.models.estimate import Refusal
from flexmpi.scheduler.deciding.elastic import ElasticJob, MoveCost, Rules, View, WaitingJob
from flexmpi.scheduler.deciding.policies.capping import under_cap
from flexmpi.scheduler.deciding.policies.cost import COST, cost
from flexmpi.scheduler.deciding.policies.deadline import DEADLINE, deadline
from flexmpi.scheduler.deciding.policies.energy import ENERGY, energy
from flexmpi.scheduler.deciding.policies.sizing import Objective, plan, worth
from flexmpi.scheduler.deciding.policies.throughput import THROUGHPUT, throughput
from flexmpi.scheduler.deciding.power import Power, Watts
from tests.scheduler.deciding.policies.forecasts import forecast_of

NODES = tuple(f"node{number}" for number in range(8))
SERIAL, PARALLEL = (0.0, 0.03, 0.2, 1.0), (0.1, 0.7, 1.0, 4.0)
FREE_MOVES = MoveCost(start_s=0.0, stall_s=0.0)
POWER = Power({node: Watts(50.0, 100.0) for node in NODES})


def job(key: str, held: tuple[str, ...], low: int = 1, high: int = 8, **fields: object) -> ElasticJob:
    usual: dict[str, object] = {"suitable": frozenset(NODES), "forecast": forecast_of(), "move": FREE_MOVES}
    return ElasticJob(key=key, held=held, minimum_nodes=low, maximum_nodes=high, **usual | fields)


def view(*jobs: ElasticJob, **fields: object) -> View:
    held = {node for each in jobs for node in (*each.held, *each.departing)}
    free = tuple(node for node in NODES if node not in held)
    return View(now=0.0, jobs=jobs, **{"free": free, "settled": frozenset(free), **fields})


def settled_sizes(before: View, policy: object) -> dict[str, int]:
    """The sizes that jobs have when the policy has nothing more to change and every change was carried out at once."""
    jobs = {each.key: each for each in before.jobs}
    for _ in range(12):
        decisions = under_cap(policy(before), before)  # type: ignore[operator]
        if not decisions:
            return {key: each.size for key, each in jobs.items()}
        for decision in decisions:
            held = tuple(node for node in jobs[decision.key].held if node not in decision.leave)
            jobs[decision.key] = replace(jobs[decision.key], held=held + decision.add)
        taken = {node for each in jobs.values() for node in each.held}
        free = tuple(node for node in NODES if node not in taken)
        before = replace(before, jobs=tuple(jobs.values()), free=free, settled=frozenset(free))
    raise AssertionError("the sizes do not settle")


@pytest.mark.parametrize("objective", [THROUGHPUT, DEADLINE, COST, ENERGY], ids=lambda each: each.name)
@settings(derandomize=True, deadline=None, max_examples=40)
@given(
    times=st.lists(
        st.tuples(st.sampled_from(SERIAL), st.sampled_from(PARALLEL), st.integers(1, 3)), min_size=2, max_size=3
    ),
    cap_w=st.none() | st.floats(700, 1300),
)
def test_the_chosen_sizes_are_those_that_enumeration_finds(
    objective: Objective, times: list[tuple[float, float, int]], cap_w: float | None
) -> None:
    jobs = [
        job(str(number), NODES[2 * number : 2 * number + 2], high=6, forecast=forecast_of(*each[:2]), weight=each[2])
        for number, each in enumerate(times)
    ]
    before = view(*jobs, power=replace(POWER, cap_w=cap_w, others_w=400.0))
    made = plan(before, objective)

    def value(each: ElasticJob, size: int) -> float:
        others = [node for node in NODES if node not in each.held]
        found = worth(each, (*each.held, *others)[:size], before, objective)
        assert isinstance(found, float)
        return found

    fitting = [
        sizes
        for sizes in product(range(1, 7), repeat=len(jobs))
        if sum(sizes) <= len(NODES) and (cap_w is None or 400.0 + 100.0 * sum(sizes) <= cap_w)
    ]
    best = max(sum(value(each, size) for each, size in zip(jobs, sizes, strict=True)) for sizes in fitting)
    chosen = [made.chosen[each.key].size for each in jobs]
    assert tuple(chosen) in fitting
    assert sum(value(each, size) for each, size in zip(jobs, chosen, strict=True)) == pytest.approx(best)


def test_nodes_go_to_the_job_that_becomes_faster_by_them() -> None:
    scales, does_not = job("scales", NODES[:1]), job("does not", NODES[1:2], forecast=forecast_of(1.0, 0.1))
    assert settled_sizes(view(scales, does_not), throughput) == {"scales": 7, "does not": 1}


def test_a_job_that_does_not_scale_makes_room_for_one_that_does() -> None:
    scales, does_not = job("scales", NODES[:1]), job("does not", NODES[1:], forecast=forecast_of(1.0, 0.1))
    first = throughput(view(scales, does_not))
    assert [(each.key, len(each.leave), each.add) for each in first] == [("does not", 6, ())]
    assert settled_sizes(view(scales, does_not), throughput) == {"scales": 7, "does not": 1}


def test_a_job_that_grows_soon_waits_for_all_its_nodes_and_no_third_job_shrinks_for_it_meanwhile() -> None:
    leaving = job("leaving", NODES[1:7], leaving=NODES[2:7], may_shrink=False, may_grow=False)
    third = job("third", NODES[7:], forecast=forecast_of(0.0, 1.0))
    assert throughput(view(job("scales", NODES[:1]), leaving, third)) == ()


def test_a_job_without_enough_samples_keeps_its_size_and_says_why() -> None:
    unknown = job("unknown", NODES[:3], forecast=Refusal("2 of 3 samples measured"))
    made = plan(view(unknown, job("known", NODES[3:4])), THROUGHPUT)
    assert set(made.chosen) == {"known"}
    assert made.reasons["unknown"] == "2 of 3 samples measured: it keeps its size"


def test_nobody_moves_for_less_than_a_move_costs_in_the_time_that_is_left() -> None:
    slow = MoveCost(start_s=20.0, stall_s=40.0)
    assert throughput(view(job("ends soon", NODES[:4], move=slow, ends_at=50.0))) == ()
    (decision,) = throughput(view(job("runs on", NODES[:4], move=slow, ends_at=5000.0)))
    assert len(decision.add) == 4


def test_waiting_jobs_come_first_and_nodes_kept_for_them_are_not_given_out() -> None:
    waits = WaitingJob(job_id=9, nodes=6, suitable=frozenset(NODES))
    (decision,) = throughput(view(job("a", NODES[:4]), waiting=(waits,)))
    assert (decision.leave, decision.add) == (("node3", "node2"), ())


def test_a_lower_cap_makes_jobs_shrink_though_they_may_not_grow_yet_and_a_higher_one_lets_them_grow() -> None:
    a, b = job("a", NODES[:4], may_grow=False), job("b", NODES[4:], forecast=forecast_of(0.2, 1.0), may_grow=False)
    full = view(a, b, power=replace(POWER, cap_w=400.0 + 500.0, others_w=400.0))
    shrunk = settled_sizes(full, throughput)
    assert sum(shrunk.values()) == 5
    assert shrunk["a"] > shrunk["b"]
    again = replace(full, power=replace(POWER, cap_w=2000.0, others_w=400.0))
    able = tuple(replace(each, may_grow=True, held=each.held[: shrunk[each.key]]) for each in full.jobs)
    free = tuple(set(NODES) - {node for each in able for node in each.held})
    grown = settled_sizes(replace(again, jobs=able, free=free, settled=frozenset(free)), throughput)
    assert sum(grown.values()) == 8


def test_a_cap_that_the_smallest_sizes_exceed_brings_all_jobs_to_their_minimum() -> None:
    before = view(job("a", NODES[:4], low=2), job("b", NODES[4:]), power=replace(POWER, cap_w=500.0, others_w=400.0))
    assert settled_sizes(before, throughput) == {"a": 2, "b": 1}


def test_cost_uses_as_few_nodes_as_the_slowdown_allows_and_no_fewer() -> None:
    one = job("one", NODES[:4], forecast=forecast_of(0.5, 1.0))
    sizes = settled_sizes(view(one, rules=Rules(slowdown=1.5)), cost)
    # At 8 nodes 0.625 s; 1.5 times that is 0.94 s, which 3 nodes keep to (0.83 s) and 2 do not (1.0 s).
    assert sizes == {"one": 3}
    assert settled_sizes(view(one, rules=Rules(slowdown=10.0)), cost) == {"one": 1}


def test_energy_takes_the_thriftier_class_of_nodes_and_keeps_a_job_whose_watts_nobody_declared() -> None:
    thrifty = Power({node: Watts(10.0, 40.0 if number >= 5 else 200.0) for number, node in enumerate(NODES)})
    one = job("one", NODES[:1], high=3, forecast=forecast_of(0.0, 1.0))
    (decision,) = energy(view(one, power=thrifty, rules=Rules(slowdown=1.01)))
    assert set(decision.add) <= set(NODES[5:])
    made = plan(view(one), ENERGY)
    assert made.chosen == {}
    assert made.reasons["one"] == "no watts are declared for node0: it keeps its size"


def test_a_site_can_weigh_accounts() -> None:
    heavy, light = job("heavy", NODES[:1], weight=3.0), job("light", NODES[1:2])
    assert settled_sizes(view(heavy, light), throughput) == {"heavy": 7, "light": 1}


def test_a_job_that_would_not_finish_in_time_goes_before_a_faster_one_and_gets_no_more_than_it_needs() -> None:
    # 100 s are left; on 3 nodes the last 300 iterations take 90 s, on 2 nodes 120 s.
    late = job("late", NODES[:1], ends_at=100.0, iterations_left=300, forecast=forecast_of(0.1, 0.6))
    fast = job("fast", NODES[1:], weight=5.0)
    sizes = settled_sizes(view(late, fast), deadline)
    assert sizes == {"late": 3, "fast": 5}
    assert settled_sizes(view(late, fast), throughput)["late"] < 3


def test_a_job_that_is_late_at_any_size_or_does_not_say_how_much_is_left_counts_by_its_speed() -> None:
    hopeless = job("hopeless", NODES[:1], ends_at=10.0, iterations_left=10**6)
    silent = job("silent", NODES[1:2], ends_at=10.0, weight=3.0)
    assert settled_sizes(view(hopeless, silent), deadline) == {"hopeless": 1, "silent": 7}


def test_sizes_that_are_not_proven_to_be_the_best_are_put_to_glpk_where_the_rules_give_it_time() -> None:
    random = np.random.default_rng(31)
    jobs = int(random.integers(6, 12))
    names = [f"node{number}" for number in range(90)]
    seen = View(
        now=0.0,
        jobs=tuple(
            ElasticJob(
                key=f"job{number}",
                held=(names[number],),
                minimum_nodes=1,
                maximum_nodes=int(random.integers(2, 8)),
                suitable=frozenset(names),
                weight=float(random.choice([1.0, 2.0, 3.0])),
                forecast=forecast_of(round(float(random.uniform(0, 0.5)), 2), round(float(random.uniform(0.5, 5)), 2)),
            )
            for number in range(jobs)
        ),
        free=tuple(names[jobs:]),
        settled=frozenset(names[jobs:]),
    )
    declared = {name: Watts(0.0, float(random.choice([70.0, 110.0, 190.0]))) for name in names}
    seen = replace(seen, power=Power(declared, float(random.uniform(jobs * 150, jobs * 400))))
    found = plan(seen, THROUGHPUT)
    proven = plan(replace(seen, rules=Rules(exact_s=60.0)), THROUGHPUT)
    assert all("% of the best" in why for why in found.reasons.values())
    assert not any("% of the best" in why for why in proven.reasons.values())
    values = [sum(offer.value for offer in each.chosen.values()) for each in (found, proven)]
    assert values[1] >= values[0]
