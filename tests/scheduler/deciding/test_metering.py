"""Watts that jobs measure: whose readings count, when a class has enough, and that each figure says where it comes from."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.cluster.state import Job, JobState, Node, NodeState, Snapshot
from flexmpi.models.power import KEPT, MINIMUM_SAMPLES
from flexmpi.protocol.messages import MOST_WATTS, NodeEnergy, NodeRanks, Register
from flexmpi.scheduler.agent.settings import AgentSettings
from flexmpi.scheduler.deciding.metering import ALIKE, Metering, credible
from flexmpi.scheduler.deciding.power import Power, Watts
from flexmpi.scheduler.jobs.ledger import Member

DECLARED = Watts(80.0, 160.0)
CLASSES = {"power": {"classes": ({"nodes": "node[0-1]", "idle_w": 80.0, "dynamic_w": 160.0},)}}
METERING = Metering({"node0": "thin", "node1": "thin", "fat0": "fat"}, {"thin": DECLARED, "fat": Watts(100.0, 300.0)})


def reading(node: str, busy_cores: float, watts: float, seconds: float = 2.0) -> NodeEnergy:
    return NodeEnergy(node=node, seconds=seconds, joules=watts * seconds, processor_s=busy_cores * seconds)


def readings(*busy_cores: float, idle_w: float = 40.0, core_w: float = 10.0) -> list[NodeEnergy]:
    return [reading("node0", cores, idle_w + core_w * cores) for cores in busy_cores]


# What readings say


def test_idle_and_dynamic_watts_of_all_nodes_of_a_class_are_fitted_to_the_readings_of_some() -> None:
    watts = METERING.after(readings(1.0, 4.0, 2.0, 4.0)).watts
    assert watts["node0"] == watts["node1"]
    assert watts["node0"].source == "measured"
    assert watts["node0"].idle_w == pytest.approx(40.0, rel=0.05)
    assert watts["node0"].dynamic_w == pytest.approx(40.0, rel=0.05)
    assert watts["fat0"] == Watts(100.0, 300.0, "declared")


def test_of_too_few_readings_the_declared_watts_stay() -> None:
    few = METERING.after(readings(*[4.0] * (MINIMUM_SAMPLES - 1)))
    assert few.watts["node0"] == DECLARED
    assert few.after(readings(4.0)).watts["node0"].source == "measured"


def test_a_total_that_has_not_varied_is_measured_and_divides_more_as_declared_than_evenly() -> None:
    watts = METERING.after(readings(4.0, 4.0, 4.0)).watts["node0"]
    assert watts.idle_w + watts.dynamic_w == pytest.approx(80.0, rel=0.01)
    assert 0 < watts.dynamic_w < 160.0


def test_a_class_declared_to_draw_nothing_is_measured_all_the_same() -> None:
    free = replace(METERING, declared={**METERING.declared, "thin": Watts(0.0, 0.0)})
    watts = free.after(readings(1.0, 4.0, 2.0, 4.0)).watts["node0"]
    assert (watts.idle_w, watts.dynamic_w) == (pytest.approx(40.0, rel=0.1), pytest.approx(40.0, rel=0.1))


@pytest.mark.parametrize(
    "none", [readings(*[0.0] * 5), readings(*[0.05] * 5), readings(*[4.0] * 5, idle_w=0, core_w=0)]
)
def test_nodes_that_do_not_compute_and_meters_that_stand_still_say_nothing(none: list[NodeEnergy]) -> None:
    assert METERING.after(none).watts["node0"] == DECLARED


def test_readings_of_nodes_in_no_class_are_of_no_use() -> None:
    assert METERING.after([reading("elsewhere", 4.0, 80.0)] * 5) == METERING


def test_watts_stay_until_readings_differ_by_more_than_noise() -> None:
    before = METERING.after(readings(1.0, 4.0, 2.0))
    assert before.after(readings(1.0, 4.0, idle_w=40.0 * (1 + ALIKE / 4))).watts == before.watts
    after = before.after(readings(*[1.0, 4.0] * KEPT, idle_w=60.0))
    assert after.watts["node0"].idle_w == pytest.approx(60.0, rel=0.05)
    assert len(after.model.samples["thin"]) == KEPT


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    st.lists(
        st.builds(
            lambda seconds, watts, cores: reading("node0", cores, watts, seconds),
            st.floats(0, 1e7, exclude_min=True),
            st.floats(0, 0.99 * MOST_WATTS),
            st.floats(0, 256),
        ),
        max_size=8,
    )
)
def test_whatever_is_told_watts_are_figures_within_what_a_node_can_draw(told: list[NodeEnergy]) -> None:
    watts = METERING.after(told).watts["node0"]
    assert 0 <= watts.idle_w <= 2 * MOST_WATTS and 0 <= watts.dynamic_w <= 2 * MOST_WATTS


# Whose readings count


def job(job_id: int, *nodes: str, state: JobState = JobState.RUNNING, name: str = "heat") -> Job:
    return Job(job_id=job_id, name=name, uid=7, user="ana", state=state, nodes=nodes)


def member(own: Job, *told: NodeEnergy, companions: tuple[Job, ...] = ()) -> Member:
    held = tuple(NodeRanks(node=node, ranks=1) for node in own.nodes)
    said = Register(
        job_key=f"job{own.job_id}", job_id=own.job_id, name=own.name, uid=7, user="ana", nodes=held, minimum_nodes=1,
        maximum_nodes=9, processes_per_node=1, udp=None, epoch=0, credential="none",
    )  # fmt: skip
    return Member(said, own, b"", 0.0, 0.0, {one.node: 1 for one in held}, companions=companions, energy=told)


def snapshot(*jobs: Job, hidden: frozenset[str] = frozenset(), **states: set[NodeState]) -> Snapshot:
    taken = {node for each in jobs for node in each.nodes}
    usual = {node: {NodeState.ALLOCATED if node in taken else NodeState.IDLE} for node in ("node0", "node1", "fat0")}
    nodes = tuple(Node(name=node, cores=4, states=frozenset(state)) for node, state in (usual | states).items())
    return Snapshot(taken_at=0.0, nodes=nodes, jobs=jobs, hidden=hidden)


OWN, OTHER = reading("node0", 4.0, 80.0), reading("node1", 4.0, 80.0)


def test_readings_of_a_jobs_own_nodes_and_its_companions_count_and_only_once() -> None:
    parent, companion = job(12, "node0"), job(13, "node1", name="flexmpi-12")
    told = member(parent, OWN, OTHER, companions=(companion,))
    assert list(credible([told], snapshot(parent, companion))) == [OWN, OTHER]
    assert list(credible([told], snapshot(parent, companion))) == []


def test_a_job_cannot_speak_for_nodes_that_are_not_its_own() -> None:
    parent, other = job(12, "node0"), job(13, "node1")
    elsewhere = reading("moon", 1.0, 10.0)
    told = member(parent, OWN, OTHER, reading("fat0", 4.0, 80.0), elsewhere)
    assert list(credible([told], snapshot(parent, other))) == [OWN]


@pytest.mark.parametrize(
    "states", [{NodeState.MIXED}, {NodeState.ALLOCATED, NodeState.COMPLETING}, {NodeState.IDLE}], ids=sorted
)
def test_readings_of_a_node_that_is_not_allocated_as_a_whole_do_not_count(states: set[NodeState]) -> None:
    parent = job(12, "node0")
    assert list(credible([member(parent, OWN)], snapshot(parent, node0=states))) == []


def test_readings_of_a_node_that_another_job_is_on_do_not_count() -> None:
    parent, other = job(12, "node0"), job(13, "node0", state=JobState.SUSPENDED)
    assert list(credible([member(parent, OWN)], snapshot(parent, other))) == []
    over = replace(other, state=JobState.COMPLETED)
    assert list(credible([member(parent, OWN)], snapshot(parent, over))) == [OWN]


def test_where_jobs_are_hidden_no_reading_counts() -> None:
    parent = job(12, "node0")
    assert list(credible([member(parent, OWN)], snapshot(parent, hidden=frozenset({"jobs"})))) == []


def test_more_processor_time_than_a_node_has_is_not_believed() -> None:
    parent = job(12, "node0")
    assert list(credible([member(parent, reading("node0", 5.0, 80.0))], snapshot(parent))) == []


# Where figures come from


def test_watts_say_where_they_come_from_and_what_is_partly_declared_is_declared() -> None:
    power = Power({"a": Watts(1.0, 2.0), "b": Watts(1.0, 2.0, "measured")})
    assert [power.source_of(nodes) for nodes in (["a"], ["b"], ["a", "b"])] == ["declared", "measured", "declared"]


def test_the_classes_of_the_settings_are_metered() -> None:
    metering = AgentSettings.model_validate(CLASSES).power.metering
    assert metering.watts == {"node0": DECLARED, "node1": DECLARED}
    assert metering.after(readings(1.0, 4.0, 2.0)).watts["node1"].source == "measured"
