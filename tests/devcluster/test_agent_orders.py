"""Elastic jobs on an unmodified Slurm that follow an agent, which the test plays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flexmpi.protocol.messages import Acknowledged, Done, Ended, Failed, Held, Refused, Sample, Stop, Withdraw
from tests.agents import ScriptedAgent
from tests.applications import PROGRAMS, wait_until
from tests.devcluster.elastic_jobs import ElasticJob, idle_nodes

COUNTING = ("--interval=0.1s", "--nodes=1-6", PROGRAMS / "counting.py", "--pause=0.005")


@pytest.fixture
def agent(tmp_path: Path, cluster: Any) -> Iterator[ScriptedAgent]:
    """An agent; when the test is over no job of it is left."""
    with ScriptedAgent(tmp_path / "agent") as agent:
        yield agent
    cluster.cancel_all()
    cluster.wait_until_idle()


def held(nodes: Held) -> dict[str, int]:
    return {one.node: one.ranks for one in nodes}


def test_a_job_gets_and_gives_back_nodes_as_the_agent_orders(cluster, folder, agent):
    job = ElasticJob(cluster, folder, f"--agent={agent.folder}", *COUNTING)
    said = agent.admit()
    assert (said.job_id, said.minimum_nodes, said.maximum_nodes) == (job.job_id, 1, 6)
    floor = said.nodes[0].node
    one, two, three, *_ = (node for node in cluster.nodes if node != floor)
    assert held(agent.carried_out(agent.resize(add=(one, two))).nodes) == {floor: 1, one: 1, two: 1}
    assert len(job.companions()) == 2
    assert held(agent.carried_out(agent.resize(add=(three,), leave=(one,))).nodes) == {floor: 1, two: 1, three: 1}
    assert one in idle_nodes(cluster)
    agent.resize(leave=(floor,))
    assert agent.until(Refused).why == f"{floor} is the node this job cannot leave"
    assert held(agent.carried_out(agent.resize(leave=(two, three))).nodes) == {floor: 1}
    assert job.companions() == []
    agent.tell(Stop(id="stop", epoch=1, cause="test"))
    assert agent.until(Ended).status == 143
    job.wait_until_over()
    job.check_clean()


def test_a_node_that_is_not_granted_is_told_in_slurms_own_words(cluster, folder, agent):
    job = ElasticJob(cluster, folder, f"--agent={agent.folder}", "--grant-timeout=6", *COUNTING)
    floor = agent.admit().nodes[0].node
    taken, free, *_ = (node for node in cluster.nodes if node != floor)
    cluster.run("sbatch", "--exclusive", f"--nodelist={taken}", "--output=/dev/null", "--wrap=sleep 600")
    wait_until(lambda: taken not in idle_nodes(cluster), what=f"{taken} is taken")
    agent.resize(add=(taken, free))
    failed = agent.until(Failed)
    assert failed.why.startswith(f"{taken} was not granted within 6 s: Slurm job "), failed.why
    assert "is PENDING (" in failed.why
    assert (held(failed.nodes), failed.cost) == ({floor: 1}, None)
    assert job.companions() == []
    assert held(agent.carried_out(agent.resize(add=(free,))).nodes) == {floor: 1, free: 1}


def test_a_node_that_is_waited_for_is_given_up_when_the_agent_takes_the_order_back(cluster, folder, agent):
    job = ElasticJob(cluster, folder, f"--agent={agent.folder}", "--grant-timeout=600", "--grant-retries=9", *COUNTING)
    floor = agent.admit().nodes[0].node
    taken, other, free, *_ = (node for node in cluster.nodes if node != floor)
    agent.carried_out(agent.resize(add=(other,)))
    cluster.run("sbatch", "--exclusive", f"--nodelist={taken}", "--output=/dev/null", "--wrap=sleep 600")
    wait_until(lambda: taken not in idle_nodes(cluster), what=f"{taken} is taken")
    command = agent.resize(add=(taken, free))
    agent.until(Acknowledged, id=command.id)
    wait_until(lambda: len(job.companions()) == 3, what="both nodes are waited for")
    agent.tell(Withdraw(id=command.id, why="taken back: job 9 can start then"))
    failed = agent.until(Failed)
    assert (failed.id, failed.why) == (command.id, "taken back: job 9 can start then")
    assert held(failed.nodes) == {floor: 1, other: 1}
    assert len(job.companions()) == 1
    assert held(agent.carried_out(agent.resize(leave=(other,))).nodes) == {floor: 1}


def test_a_node_that_slurm_takes_back_is_held_no_more(cluster, folder, agent):
    job = ElasticJob(cluster, folder, f"--agent={agent.folder}", *COUNTING)
    floor = agent.admit().nodes[0].node
    other = next(node for node in cluster.nodes if node != floor)
    agent.carried_out(agent.resize(add=(other,)))
    (companion,) = job.companions()
    cluster.run("scancel", companion)
    while held(agent.until(Sample).nodes) != {floor: 1}:
        pass
    wait_until(lambda: other in idle_nodes(cluster), what=f"{other} is idle", limit_s=10)


def test_nodes_of_the_first_allocation_are_held_until_slurm_has_them_back(cluster, folder, agent):
    job = ElasticJob(cluster, folder, f"--agent={agent.folder}", *COUNTING, options=("--nodes=2", "--ntasks=2"))
    floor, other = (one.node for one in agent.admit().nodes)
    command = agent.resize(leave=(other,))
    while not isinstance(answer := agent.hear(), Done | Failed):
        pass
    assert answer.id == command.id
    if isinstance(answer, Failed):
        assert f"{other} stays allocated to job {job.job_id}" in answer.why
        assert held(answer.nodes) == {floor: 1, other: 0}
        assert other not in idle_nodes(cluster)
    else:
        assert held(answer.nodes) == {floor: 1}
        assert other in idle_nodes(cluster)
