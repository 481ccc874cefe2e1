from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.models.estimate import Refusal
from flexmpi.scheduler.deciding.elastic import Decision, ElasticJob, MoveCost, Total, View, WaitingJob
from flexmpi.scheduler.deciding.policies import POLICIES
from flexmpi.scheduler.deciding.policies.capping import under_cap
from flexmpi.scheduler.deciding.policies.fair import equal_shares, fair
from flexmpi.scheduler.deciding.policies.fill import fill
from flexmpi.scheduler.deciding.policies.seating import could_start
from flexmpi.scheduler.deciding.policies.triggered import triggered
from flexmpi.scheduler.deciding.power import Power, Watts
from tests.scheduler.deciding.policies.forecasts import forecast_of

NODES = tuple(f"node{number}" for number in range(8))


def job(key: str, held: tuple[str, ...], low: int = 1, high: int = 8, **fields: object) -> ElasticJob:
    return ElasticJob(
        key=key, held=held, minimum_nodes=low, maximum_nodes=high, **{"suitable": frozenset(NODES), **fields}
    )


def view(*jobs: ElasticJob, free: tuple[str, ...] = (), waiting: tuple[WaitingJob, ...] = ()) -> View:
    return View(now=0.0, jobs=jobs, free=free, settled=frozenset(free), waiting=waiting)


def waiting(nodes: int, job_id: int = 100, suitable: tuple[str, ...] = NODES, **fields: bool) -> WaitingJob:
    return WaitingJob(job_id=job_id, nodes=nodes, suitable=frozenset(suitable), **fields)


def sizes_after(before: View, decisions: tuple[Decision, ...]) -> dict[str, int]:
    sizes = {each.key: each.size for each in before.jobs}
    for decision in decisions:
        sizes[decision.key] += len(decision.add) - len(decision.leave)
    return sizes


def test_triggered_changes_nothing() -> None:
    assert triggered(view(job("a", ("node0",)), free=NODES[1:])) == ()


def test_a_lone_job_gets_all_idle_nodes_up_to_its_maximum() -> None:
    (decision,) = fill(view(job("a", ("node0",), high=5), free=NODES[1:]))
    assert decision.add == NODES[1:5]


def test_the_smallest_relative_size_grows_first() -> None:
    small, large = job("small", ("node0",), high=3), job("large", ("node1", "node2", "node3"), high=5)
    (decision,) = fill(view(large, small, free=("node4",)))
    assert decision == Decision(key="small", add=("node4",))


def test_a_job_that_waits_gets_nodes_back_from_the_largest_and_no_more_than_it_needs() -> None:
    large, small = job("large", NODES[:5], high=6), job("small", NODES[5:7], high=6)
    (decision,) = fill(view(large, small, free=("node7",), waiting=(waiting(3),)))
    assert decision.key == "large"
    assert set(decision.leave) < set(NODES[1:5])
    assert len(decision.leave) == 2


def test_nodes_that_the_manager_keeps_for_a_waiting_job_are_not_given_back_once_more() -> None:
    seen = replace(view(job("a", NODES[:4]), waiting=(waiting(2),)), planned=("node7",))
    (decision,) = fill(seen)
    assert (decision.add, len(decision.leave)) == ((), 1)


def test_a_job_could_start_where_all_it_needs_is_idle_or_kept_by_the_manager_and_nothing_is_on_its_way() -> None:
    elastic = job("a", NODES[:2], low=2, leaving=("node1",))
    seen = replace(view(elastic, free=("node6",), waiting=(waiting(2), waiting(1, job_id=101))), planned=("node7",))
    assert could_start(seen) == {101: ("node6",)}
    (first, second) = (set(nodes) for nodes in could_start(replace(seen, jobs=(), free=("node5", "node6"))).values())
    assert (len(first), len(second), first | second) == (2, 1, {"node5", "node6", "node7"})
    assert could_start(replace(seen, jobs=(), waiting=(waiting(3),))) == {}


def test_nobody_shrinks_for_a_job_that_could_not_start_all_the_same() -> None:
    assert fill(view(job("a", NODES[:4], low=3), free=("node7",), waiting=(waiting(4),))) == ()


def test_nobody_shrinks_for_a_job_behind_one_that_cannot_start() -> None:
    assert fill(view(job("a", NODES[:4]), waiting=(waiting(8), waiting(1, job_id=101)))) == ()


def test_nobody_shrinks_for_a_job_that_came_a_moment_ago_but_its_nodes_are_not_given_out() -> None:
    assert fill(view(job("a", NODES[:2]), free=NODES[2:4], waiting=(waiting(3, is_settled=False),))) == ()


def test_idle_nodes_that_somebody_waits_for_are_not_given_out() -> None:
    (decision,) = fill(view(job("a", ("node0",)), free=NODES[1:4], waiting=(waiting(2),)))
    assert len(decision.add) == 1


def test_nodes_on_their_way_out_count_for_the_job_that_waits_for_them() -> None:
    shrinking = job("a", NODES[:4], leaving=("node3", "node2"), may_shrink=False, may_grow=False)
    assert fill(view(shrinking, job("b", NODES[4:8]), waiting=(waiting(2),))) == ()


def test_nodes_that_a_job_has_left_are_not_its_size_and_will_be_free() -> None:
    shrunk = job("a", NODES[:2], departing=("node2",))
    assert shrunk.size == 2
    assert fair(view(shrunk, job("b", NODES[4:6]))) == ()
    assert fill(view(shrunk, job("b", NODES[4:8]), waiting=(waiting(1),))) == ()


def test_only_nodes_that_the_waiting_job_can_use_are_given_back() -> None:
    (decision,) = fill(view(job("a", NODES[:4]), waiting=(waiting(1, suitable=("node2",)),)))
    assert decision.leave == ("node2",)


def test_a_node_that_is_not_settled_or_not_suitable_is_not_given_out() -> None:
    before = view(job("a", ("node0",), suitable=frozenset({"node1", "node2"})), free=("node1", "node2", "node3"))
    (decision,) = fill(replace(before, settled=frozenset({"node2", "node3"})))
    assert decision.add == ("node2",)


def test_a_sites_limit_on_extra_nodes_holds() -> None:
    (decision,) = fill(view(job("a", ("node0",), extra_allowed=2), free=NODES[1:]))
    assert len(decision.add) == 2


def test_fair_takes_from_the_larger_what_the_smaller_lacks() -> None:
    before = view(job("a", NODES[:6]), job("b", NODES[6:]))
    (first,) = fair(before)
    assert (first.key, len(first.leave)) == ("a", 2)
    after = view(job("a", NODES[:4]), job("b", NODES[6:]), free=NODES[4:6])
    (second,) = fair(after)
    assert (second.key, len(second.add)) == ("b", 2)


def test_fair_moves_nothing_where_sizes_differ_by_the_odd_node() -> None:
    assert fair(view(job("a", NODES[:2]), job("b", NODES[2:5]))) == ()
    assert fair(view(job("a", NODES[:3]), job("b", NODES[3:5]))) == ()


def test_fair_takes_nothing_that_the_other_cannot_use() -> None:
    before = view(job("a", NODES[:6]), job("b", NODES[6:], suitable=frozenset(NODES[6:])))
    assert fair(before) == ()


WATTS = st.integers(0, 200).map(float)
RANGES = st.tuples(st.integers(1, 4), st.integers(0, 6)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@settings(derandomize=True, deadline=None)
@given(ranges=st.lists(RANGES, min_size=1, max_size=6), nodes=st.integers(0, 40))
def test_shares_are_within_ranges_and_equal_where_ranges_allow(ranges: list[tuple[int, int]], nodes: int) -> None:
    jobs = [job(str(number), (f"n{number}",), low, high) for number, (low, high) in enumerate(ranges)]
    shares = equal_shares(jobs, nodes)
    for each in jobs:
        assert each.minimum_nodes <= shares[each.key] <= each.maximum_nodes
    assert sum(shares.values()) <= max(nodes, sum(each.minimum_nodes for each in jobs))
    for one in jobs:
        for other in jobs:
            if shares[one.key] < one.maximum_nodes and shares[other.key] > other.minimum_nodes:
                assert shares[other.key] <= shares[one.key] + 1


FORECASTS = st.sampled_from(
    [
        Refusal("1 of 3 samples measured"),
        *(forecast_of(serial, parallel) for serial in (0.0, 0.1, 1.0) for parallel in (0.01, 1.0, 8.0)),
    ]
)


@st.composite
def views(draw: st.DrawFn) -> View:
    nodes = [f"n{number}" for number in range(draw(st.integers(1, 16)))]
    deal = draw(st.lists(st.integers(-1, 3), min_size=len(nodes), max_size=len(nodes)))
    subset = st.frozensets(st.sampled_from(nodes))
    jobs = []
    for number in range(4):
        held = tuple(node for node, owner in zip(nodes, deal, strict=True) if owner == number)
        if held:
            low = draw(st.integers(1, len(held)))
            high = draw(st.integers(len(held), 16))
            may = draw(st.booleans())
            jobs.append(
                job(
                    f"j{number}",
                    held,
                    low,
                    high,
                    suitable=draw(subset) | set(held),
                    may_grow=may and draw(st.booleans()),
                    may_shrink=may,
                    extra_allowed=draw(st.none() | st.integers(0, 3)),
                    forecast=draw(FORECASTS),
                    move=MoveCost(start_s=draw(st.floats(0, 20)), stall_s=draw(st.floats(0, 20))),
                    ends_at=draw(st.none() | st.floats(-5, 2000)),
                )
            )
    free = tuple(node for node, owner in zip(nodes, deal, strict=True) if owner < 0)
    queue = draw(st.lists(st.tuples(st.integers(1, 8), subset, st.booleans()), max_size=3))
    waits = tuple(
        WaitingJob(job_id=number, nodes=count, suitable=suitable, is_settled=settled)
        for number, (count, suitable, settled) in enumerate(queue)
    )
    settled = draw(st.frozensets(st.sampled_from(free))) if free else frozenset()
    declared = {node: Watts(draw(WATTS), draw(WATTS)) for node in nodes if draw(st.integers(0, 9)) > 0}
    power = Power(declared, cap_w=draw(st.none() | st.floats(0, 1500)), others_w=draw(st.floats(0, 200)))
    return View(now=0.0, jobs=tuple(jobs), free=free, settled=settled, waiting=waits, power=power)


@pytest.mark.parametrize("name", POLICIES)
@given(before=views(), capped=st.booleans())
@settings(max_examples=150, derandomize=True, deadline=None)
def test_a_policy_keeps_to_ranges_and_gives_out_only_what_is_free(name: str, before: View, capped: bool) -> None:
    decisions = POLICIES[name](before)
    if capped:
        decisions = under_cap(decisions, before)
    assert len({decision.key for decision in decisions}) == len(decisions)
    given_out = [node for decision in decisions for node in decision.add]
    assert len(set(given_out)) == len(given_out)
    assert set(given_out) <= before.settled
    sizes = sizes_after(before, decisions)
    for decision in decisions:
        each = before.job_of[decision.key]
        assert bool(decision.add) != bool(decision.leave)
        assert each.minimum_nodes <= sizes[each.key] <= each.maximum_nodes
        assert set(decision.add) <= each.suitable
        assert set(decision.leave) <= set(each.removable)
        assert each.may_grow if decision.add else each.may_shrink
        assert each.extra_allowed is None or len(decision.add) <= each.extra_allowed


@pytest.mark.parametrize("name", POLICIES)
@given(before=views())
@settings(max_examples=150, derandomize=True, deadline=None)
def test_growth_never_goes_beyond_the_power_cap_and_jobs_shrink_until_they_keep_to_it(name: str, before: View) -> None:
    decisions = under_cap(POLICIES[name](before), before)
    power = before.power
    if power.cap_w is None:
        return
    given_out = {node for decision in decisions for node in decision.add}
    left = {node for decision in decisions for node in decision.leave}
    held = {node for each in before.jobs for node in (*each.held, *each.departing)}
    assert given_out <= set(power.watts)
    if power.dynamic_w(given_out) > 0:
        assert power.left_w(held | given_out) >= -1e-9
    if power.left_w(held - left) < 0:
        # Whoever could still leave something has said so.
        sizes = sizes_after(before, decisions)
        for each in before.jobs:
            rest = [node for node in each.removable if node not in left and power.dynamic_w([node]) > 0]
            assert not each.may_shrink or sizes[each.key] == each.minimum_nodes or not rest


@given(before=views())
@settings(max_examples=150, derandomize=True, deadline=None)
def test_fill_never_gives_out_a_node_that_the_first_waiting_job_could_start_on(before: View) -> None:
    if not before.waiting:
        return
    first = before.waiting[0]
    given_out = {node for decision in fill(before) for node in decision.add}
    left = [node for node in before.free if node in first.suitable and node not in given_out]
    could = [node for node in before.free if node in first.suitable]
    assert len(left) >= min(first.nodes, len(could))


LARGE = {"node0": 4, "node1": 4, "node2": 4, "node3": 8, "node4": 4}


def wants(cores: int, *, maximum: int | None = None, required: tuple[str, ...] = (), nodes: int = 1) -> WaitingJob:
    return WaitingJob(
        job_id=100,
        nodes=nodes,
        maximum=maximum,
        suitable=frozenset(LARGE),
        required=frozenset(required),
        totals=(Total(cores, LARGE),),
    )


def test_of_unlike_nodes_as_many_are_given_back_as_the_job_that_waits_can_start_on() -> None:
    small = job("small", ("node0", "node1", "node2"))
    (decision,) = fill(view(small, waiting=(wants(8),)))
    assert len(decision.leave) == 2
    both = job("both", ("node0", "node1", "node2", "node3"))
    (decision,) = fill(view(both, waiting=(wants(8),)))
    assert decision.leave == ("node3",)


def test_nothing_is_given_back_for_a_job_that_takes_no_more_nodes_than_would_do() -> None:
    assert fill(view(job("small", ("node0", "node1", "node2")), waiting=(wants(16, maximum=2),))) == ()


def test_the_largest_free_nodes_are_kept_for_a_job_that_waits_and_no_more_than_it_starts_on() -> None:
    grows = job("grows", ("node0",))
    (decision,) = fill(view(grows, free=("node1", "node2", "node3", "node4"), waiting=(wants(12),)))
    assert set(decision.add) == {"node2", "node4"}


def test_the_node_that_a_waiting_job_has_named_is_given_back_and_no_other() -> None:
    elastic = job("a", ("node0", "node4", "node2", "node1"))
    (decision,) = fill(view(elastic, free=("node3",), waiting=(wants(8, required=("node4",), nodes=2),)))
    assert decision.leave == ("node4",)
    floor = job("a", ("node4", "node0", "node1"))
    assert fill(view(floor, waiting=(wants(8, required=("node4",), nodes=2),))) == ()
