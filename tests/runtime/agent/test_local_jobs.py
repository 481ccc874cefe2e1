"""Jobs of the local manager and an agent that the test plays: their own nodes, and those the agent gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flexmpi.cluster.platform import Node
from flexmpi.configuration import platform_text
from flexmpi.protocol.messages import Sample
from tests.agents import held
from tests.applications import PROGRAMS, Application

COUNTING = (PROGRAMS / "counting.py", "--pause=0.002")


@pytest.fixture
def in_a_local_job(start: Callable[..., Application], folder: Path) -> Callable[..., Application]:
    """Start a job as the local manager does: on the nodes n1 and n2 of four."""
    nodes = [Node(f"n{number}", 2, "small") for number in (1, 2, 3, 4)]
    told = {
        "FLEXMPI_JOB_ID": "7",
        "FLEXMPI_JOB_NAME": "mine",
        "FLEXMPI_JOB_NODES": "n1,n2",
        "FLEXMPI_JOB_PLATFORM": platform_text(nodes),
        "FLEXMPI_AGENT": str(folder),
    }

    def start_one(*options: object) -> Application:
        return start("--nodes=1-4", "--interval=0.1s", *options, *COUNTING, environment=told)

    return start_one


def test_a_job_of_the_local_manager_uses_its_nodes_and_those_the_agent_gives(agent, in_a_local_job):
    application = in_a_local_job()
    said = agent.admit()
    assert (said.job_id, said.name, held(said.nodes)) == (7, "mine", {"n1": 1, "n2": 1})
    assert (said.minimum_nodes, said.maximum_nodes, said.processes_per_node) == (1, 4, 1)
    others = "only the agent gives it others"
    assert application.send("6:n3:1") == f"error: n3 is not a node of this job, which has n1, n2: {others}"
    assert held(agent.carried_out(agent.resize(add=("n4",))).nodes) == {"n1": 1, "n2": 1, "n4": 1}
    assert application.change("6:n4:1:n2:-1")["outcome"] == "done"
    while held(agent.until(Sample).nodes) != {"n1": 1, "n2": 0, "n4": 2}:
        pass  # its own node stays its own, with ranks or without
    assert application.change("6:n2:1:n4:-2")["outcome"] == "done"
    while held(agent.until(Sample).nodes) != {"n1": 1, "n2": 1}:
        pass  # a lent node is given back
    assert application.send("6:n4:1") == f"error: n4 is not a node of this job, which has n1, n2: {others}"
    assert held(agent.carried_out(agent.resize(leave=("n2",))).nodes) == {"n1": 1}
    assert application.send("6:n2:1") == f"error: n2 is not a node of this job, which has n1: {others}"


def test_an_own_node_without_ranks_is_given_up_when_the_agent_takes_it(agent, in_a_local_job):
    application = in_a_local_job()
    agent.admit()
    application.wait_for("loop")
    assert application.change("6:n2:-1")["outcome"] == "done"
    assert held(agent.carried_out(agent.resize(leave=("n2",))).nodes) == {"n1": 1}
