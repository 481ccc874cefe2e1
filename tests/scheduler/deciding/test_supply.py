from __future__ import annotations

from dataclasses import replace

import pytest

from flexmpi.cluster.request import Request
from flexmpi.cluster.state import Job, JobState, Node, NodeState, Snapshot
from flexmpi.scheduler.deciding.suiting import Suitability
from flexmpi.scheduler.deciding.supply import Territory, idle_nodes, waiting_jobs
from flexmpi.scheduler.jobs.companions import companions, nodes_of
from flexmpi.slurm.request import feature_sets, generic_resources


def node(name: str, *states: NodeState, **fields: object) -> Node:
    return Node(name=name, cores=4, states=frozenset(states or {NodeState.IDLE}), **{"partitions": ("main",), **fields})


def job(job_id: int, state: JobState = JobState.RUNNING, **fields: object) -> Job:
    return Job(job_id=job_id, **{"name": "j", "uid": 7, "user": "u", "state": state, "partitions": ("main",), **fields})


def waits(job_id: int, reason: str | None = "Resources", **fields: object) -> Job:
    return job(job_id, JobState.PENDING, reason=reason, **fields)


def snapshot(*jobs: Job, nodes: tuple[Node, ...] = (node("n1"), node("n2"))) -> Snapshot:
    return Snapshot(taken_at=0.0, nodes=nodes, jobs=jobs)


@pytest.mark.parametrize(
    "state",
    [
        NodeState.DRAIN,
        NodeState.MAINTENANCE,
        NodeState.RESERVED,
        NodeState.PLANNED,
        NodeState.POWERED_DOWN,
        NodeState.COMPLETING,
    ],
)
def test_only_nodes_that_are_idle_and_nothing_else_may_be_used(state: NodeState) -> None:
    nodes = (node("n1"), node("n2", NodeState.IDLE, state), node("n3", NodeState.MIXED))
    assert idle_nodes(snapshot(nodes=nodes), Territory()) == ("n1",)


def test_an_agents_territory_is_its_partitions_without_excluded_nodes() -> None:
    nodes = (node("n1"), node("n2", partitions=("gpu", "main")), node("n3", partitions=("gpu",)))
    assert idle_nodes(snapshot(nodes=nodes), Territory(frozenset({"gpu"}), frozenset({"n3"}))) == ("n2",)


def test_companions_are_jobs_of_the_same_owner_that_are_named_for_another() -> None:
    parent, own = job(1, nodes=("n1",)), job(2, name="flexmpi-1", nodes=("n2",))
    pending = waits(3, name="flexmpi-1", required_nodes=("n4",))
    forged, orphan = job(4, name="flexmpi-1", uid=8), job(5, name="flexmpi-99")
    ended = job(6, JobState.COMPLETED, name="flexmpi-1", nodes=("n5",))
    found = companions(snapshot(parent, own, pending, forged, orphan, ended))
    assert found == {1: (own, pending)}
    assert nodes_of(parent, found[1]) == ("n1", "n2", "n4")


def test_jobs_that_wait_for_nodes_count_in_the_order_in_which_they_start() -> None:
    parent = job(1, nodes=("n1",))
    queue = (
        waits(2, "Dependency"),
        waits(3, "Priority", priority=5, minimum_nodes=2),
        waits(4, priority=9),
        waits(5, name="flexmpi-1"),
        waits(6, None, priority=1),
        waits(7, "JobHeldUser"),
    )
    found = waiting_jobs(snapshot(parent, *queue))
    assert [(each.job_id, each.nodes, each.is_settled) for each in found] == [(4, 1, True), (3, 2, True), (6, 1, False)]


def test_a_waiting_job_could_use_nodes_that_others_have_but_none_out_of_service_or_of_other_partitions() -> None:
    nodes = (
        node("n1", NodeState.ALLOCATED),
        node("n2", NodeState.DOWN),
        node("n3", partitions=("gpu",)),
        node("n4", features=("fast",)),
        node("n5"),
    )
    (any_of_main,) = waiting_jobs(snapshot(waits(1), nodes=nodes))
    assert any_of_main.suitable == {"n1", "n4", "n5"}
    (fast,) = waiting_jobs(snapshot(waits(1, constraint=feature_sets("fast")), nodes=nodes))
    assert fast.suitable == {"n4"}
    (named,) = waiting_jobs(snapshot(waits(1, required_nodes=("n5",)), nodes=nodes))
    assert named.suitable == {"n5"}
    (without,) = waiting_jobs(snapshot(waits(1, excluded_nodes=("n5",)), nodes=nodes))
    assert without.suitable == {"n1", "n4"}


def test_what_is_not_understood_keeps_nodes_for_who_waits_and_from_who_would_grow() -> None:
    nodes = (node("n1", features=("a",)), node("n2", features=("b",)))
    strange = "[a*2&b*1]"
    (waiting,) = waiting_jobs(snapshot(waits(1, constraint=feature_sets(strange)), nodes=nodes))
    assert waiting.suitable == {"n1", "n2"}
    assert Suitability(nodes, in_doubt=False).of(job(2, constraint=feature_sets(strange))) == frozenset()


def test_an_elastic_job_grows_by_nodes_with_its_features_and_resources() -> None:
    nodes = (
        node("n1", features=("a", "b")),
        node("n2", features=("c",), gres=generic_resources("gpu:4(S:0-1)")),
        node("n3"),
    )
    seen = snapshot(nodes=nodes)
    assert Suitability(seen.nodes, in_doubt=False).of(job(1)) == {"n1", "n2", "n3"}
    assert Suitability(seen.nodes, in_doubt=False).of(job(1, constraint=feature_sets("a&b|c"))) == {"n1", "n2"}
    assert Suitability(seen.nodes, in_doubt=False).of(
        job(1, request=Request(gres_per_node=generic_resources("gres/gpu:2")))
    ) == {"n2"}
    assert Suitability(seen.nodes, in_doubt=False).of(replace(job(1), partitions=("other",))) == frozenset()


def test_what_suits_a_job_is_found_once_for_all_with_the_same_wishes() -> None:
    nodes = (replace(node("n1"), features=("a",)), node("n2"))
    suitability = Suitability(nodes, in_doubt=False)
    assert suitability.of(job(1)) is suitability.of(job(2)) == {"n1", "n2"}
    assert suitability.of(job(3, constraint=feature_sets("a"))) == {"n1"}
    assert suitability.of(replace(job(4), excluded_nodes=("n1",))) == {"n2"}
