"""Nodes that enter the partition after a job's start, and nodes where a prolog takes its time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flexmpi.protocol.messages import Failed, Held
from tests.agents import ScriptedAgent
from tests.applications import wait_until
from tests.devcluster.clusters import Cluster
from tests.devcluster.elastic_jobs import COUNTING, ElasticJob, idle_nodes

FEW = "few"


@pytest.fixture
def few(cluster: Cluster) -> Iterator[str]:
    """Return the name of a partition of two nodes, which the test may change."""
    cluster.run("scontrol", "create", f"PartitionName={FEW}", f"Nodes={','.join(cluster.nodes[:2])}")
    yield FEW
    cluster.cancel_all()
    cluster.wait_until_idle()
    cluster.run("scontrol", "delete", f"PartitionName={FEW}")


def enter(cluster: Cluster) -> str:
    """Have a third node enter the partition, and return its name."""
    cluster.run("scontrol", "update", f"PartitionName={FEW}", f"Nodes={','.join(cluster.nodes[:3])}")
    return cluster.nodes[2]


def ranks(nodes: Held) -> list[int]:
    return sorted(one.ranks for one in nodes)


def test_a_node_that_entered_the_partition_later_is_known_once_it_is_granted(cluster, folder, few):
    job = ElasticJob(cluster, folder, *COUNTING, options=("--nodes=1", f"--partition={few}"))
    job.event("loop")
    assert job.change("6:any:1")["outcome"] == "done"
    new = enter(cluster)
    assert job.change("6:any:2")["changes"] == {new: 2}
    assert job.change(f"6:{new}:-1")["outcome"] == "done"
    companion = max(job.companions())
    cluster.run("scancel", companion)
    taken_back = job.event("reconfiguration", id=4)
    assert (taken_back["outcome"], taken_back["changes"]) == ("done", {new: -1})
    assert job.change(f"6:{new}:4")["outcome"] == "done"
    refused = job.send(f"6:{new}:1")
    assert "free cores there: 0" in refused, "it is known to have four"
    job.end()


def test_a_node_that_entered_the_partition_later_can_be_named_and_one_that_did_not_cannot(cluster, folder, few):
    job = ElasticJob(cluster, folder, *COUNTING, options=("--nodes=1", f"--partition={few}"))
    job.event("loop")
    new, outside = enter(cluster), cluster.nodes[3]
    assert job.send(f"6:{outside}:1").startswith(f"error: no node or alias '{outside}'")
    assert job.change(f"13:{new}:1")["outcome"] == "done"
    assert job.change(f"6:{new}:1")["nodes_after"] == 2
    job.end()


def test_the_agent_may_order_a_node_that_entered_the_partition_later(cluster, folder, few, tmp_path):
    with ScriptedAgent(tmp_path / "agent") as agent:
        job = ElasticJob(
            cluster, folder, f"--agent={agent.folder}", *COUNTING, options=("--nodes=1", f"--partition={few}")
        )
        agent.admit()
        new, outside = enter(cluster), cluster.nodes[3]
        assert ranks(agent.carried_out(agent.resize(add=(new,))).nodes) == [1, 1]
        agent.resize(add=(outside,))
        failed = agent.until(Failed)
        assert failed.why.startswith(f"{outside} is not a node that this job may have")
        assert ranks(agent.carried_out(agent.resize(leave=(new,))).nodes) == [1]
        job.end()


@pytest.fixture
def slow_prolog(folder: Path) -> Iterator[tuple[Cluster, Path]]:
    """Yield a cluster whose prolog waits on the node of a job for as long as a file is there, and the file."""
    slow, prolog = folder / "slow", folder / "prolog"
    prolog.write_text(f"#!/bin/sh\nwhile [ -e {slow} ]; do sleep 0.1; done\n")
    prolog.chmod(0o755)
    cluster = Cluster("--nodes=3", "--cores=2")
    cluster.configure(f"Prolog={prolog}", says=f"Prolog = {prolog}")
    yield cluster, slow
    slow.unlink(missing_ok=True)
    cluster.close()


def test_a_grant_timeout_holds_while_a_prolog_runs_and_the_next_command_does_not_wait(slow_prolog, folder):
    cluster, slow = slow_prolog
    job = ElasticJob(cluster, folder, "--grant-timeout=2", *COUNTING)
    job.event("loop")
    slow.touch()
    dropped = job.change("6:any:1")
    assert dropped["outcome"] == "failed" and slow.exists()
    (stuck,) = job.companions()
    assert dropped["why"].startswith(f"a node was not granted within 2 s: Slurm job {stuck} has node")
    assert dropped["why"].endswith("no launcher has reported from there: a prolog may still run")
    wait_until(lambda: state(cluster, stuck) == "COMPLETING", what="it is being ended")
    balanced = job.send("2:")
    assert balanced.startswith("ok: ")
    assert job.event("reconfiguration", id=2)["outcome"] == "done"
    assert state(cluster, stuck) == "COMPLETING", "its prolog runs on"
    slow.unlink()
    wait_until(lambda: len(idle_nodes(cluster)) == 2, what="its node is free")
    assert job.change("6:any:1")["outcome"] == "done"
    job.end()


def state(cluster: Cluster, job_id: int) -> str:
    return cluster.run("squeue", "--noheader", f"--jobs={job_id}", "--format=%T").strip()
