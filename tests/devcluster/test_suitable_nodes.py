"""The agent with a real Slurm: how many nodes a job that waits gets back, and which nodes an elastic job is ordered onto."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.applications import wait_until
from tests.devcluster.cluster_agent import ClusterAgent
from tests.devcluster.clusters import Cluster
from tests.devcluster.elastic_jobs import COUNTING, ElasticJob

NODES = 6
GRES = {"node0": "a100:1", "node1": "h100:2", "node2": "h100:2", "node3": "a100:1"}
LARGE = "node4"


@pytest.fixture(scope="module")
def unlike(slurm_here: None) -> Iterator[Cluster]:
    """Six nodes: two with one FPGA each, two with two of another kind, one with twice the CPUs and memory."""
    cluster = Cluster(f"--nodes={NODES}", "--cores=4")
    try:
        shipped = (cluster.folder / "slurm.conf").read_text()
        text = "GresTypes=fpga\n" + re.sub(
            rf"(NodeName={LARGE} .*)CPUs=4 RealMemory=1000", r"\1CPUs=8 RealMemory=2000", shipped
        )
        for node, gres in GRES.items():
            text = re.sub(rf"(NodeName={node} .*)", rf"\1 Gres=fpga:{gres}", text)
        kinds = [(node, *gres.split(":")) for node, gres in GRES.items()]
        lines = [f"NodeName={node} Name=fpga Type={kind} Count={count}\n" for node, kind, count in kinds]
        cluster.restart_with({"gres.conf": "".join(lines), "slurm.conf": text})
        yield cluster
    finally:
        cluster.close()


class Site:
    """A cluster with an agent that fills idle nodes, and what is submitted to it."""

    def __init__(self, cluster: Cluster, folder: Callable[[str], Path]) -> None:
        self.cluster = cluster
        self._folder = folder
        self._jobs: list[ElasticJob] = []
        self.agent = ClusterAgent(cluster, Path(tempfile.mkdtemp(prefix="fx-agent-", dir="/tmp")), policy="triggered")

    def elastic(self, *options: str) -> ElasticJob:
        """Submit an elastic job of one node with more options of ``sbatch``, and wait until the agent knows it."""
        arguments = (f"--agent={self.agent.folder}", "--processes-per-node=1", *COUNTING)
        job = ElasticJob(self.cluster, self._folder("e"), *arguments, options=("--nodes=1", *options))
        job.event("agent", registered=True)
        job.event("loop")
        self._jobs.append(job)
        return job

    def fill(self) -> None:
        """Have idle nodes be given to jobs from now on."""
        assert self.agent.command("policy", "fill").returncode == 0

    def rigid(self, *options: str) -> int:
        """Submit another job."""
        submitted = self.cluster.run("sbatch", "--parsable", "--output=/dev/null", *options, "--wrap=sleep 300")
        return int(submitted.strip())

    def wait_until_running(self, job_id: int) -> list[str]:
        """Wait until Slurm has started a job, and return its nodes."""
        listed = ("squeue", "--noheader", f"--jobs={job_id}")
        runs = lambda: "RUNNING" in self.cluster.run(*listed, "--format=%T")  # noqa: E731
        try:
            wait_until(runs, what=f"job {job_id} runs", limit_s=60)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.cluster.run('squeue')}{self.agent.listed('jobs')}") from None
        hosts = self.cluster.run(*listed, "--format=%N").strip()
        return self.cluster.run("scontrol", "show", "hostnames", hosts).split()

    def nodes_of(self, job: ElasticJob) -> set[str]:
        """Return the nodes an elastic job has."""
        (row,) = [row for row in self.agent.listed("jobs") if row["job"] == str(job.job_id)]
        return set(row["nodes"])

    def ordered(self) -> set[str]:
        """Return the jobs that have had an order."""
        return {row["job"] for row in self.agent.listed("history")}

    def close(self) -> None:
        """End the jobs in order, then the agent."""
        for job in self._jobs:
            job.end()
        self.agent.close()


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Any], Site]]:
    """Return what puts an agent onto a cluster; nothing of it is left after the test."""
    sites: list[Site] = []

    def on(cluster: Cluster) -> Site:
        sites.append(Site(cluster, tmp_path_factory.mktemp))
        return sites[-1]

    yield on
    for each in sites:
        if each.agent.process is not None and each.agent.process.poll() is None:
            each.agent.kill()
        each.cluster.cancel_all()
        each.cluster.wait_until_idle()
        shutil.rmtree(each.agent.folder)


def test_a_job_that_waits_gets_back_as_many_nodes_as_its_tasks_need_and_starts(cluster, site):
    busy = site(cluster)
    elastic = busy.elastic()
    busy.fill()
    for options, needed in (
        (("--ntasks=8",), 2),
        (("--ntasks=3", "--ntasks-per-node=1"), 3),
        (("--ntasks=12", "--nodes=1-4"), 3),
        (("--ntasks=3", "--cpus-per-task=3"), 3),
    ):
        busy.agent.wait_for_size(elastic.job_id, NODES)
        rigid = busy.rigid(*options)
        assert len(busy.wait_until_running(rigid)) >= needed
        busy.agent.wait_for_size(elastic.job_id, NODES - needed)
        cluster.run("scancel", rigid)
    busy.agent.wait_for_size(elastic.job_id, NODES)
    busy.close()


def test_a_job_that_waits_gets_the_nodes_back_that_have_its_gres_and_memory(unlike, site):
    busy = site(unlike)
    elastic = busy.elastic("--nodelist=node5")
    busy.fill()
    for options, nodes in ((("--gres=fpga:h100:2",), {"node1", "node2"}), (("--mem=1500",), {LARGE})):
        busy.agent.wait_for_size(elastic.job_id, NODES)
        rigid = busy.rigid(*options)
        (given,) = busy.wait_until_running(rigid)
        assert given in nodes
        busy.agent.wait_for_size(elastic.job_id, NODES - 1)
        unlike.run("scancel", rigid)
    busy.close()


def test_an_elastic_job_grows_by_the_nodes_alone_that_have_its_gres(unlike, site):
    busy = site(unlike)
    elastic = busy.elastic("--gres=fpga:a100:1")
    busy.fill()
    busy.agent.wait_for_size(elastic.job_id, 2)
    other = busy.elastic("--nodelist=node5")
    busy.agent.wait_for_size(other.job_id, 4)
    assert busy.nodes_of(elastic) == {"node0", "node3"}
    # A node counts from when Slurm has given it; the order is done when its ranks have joined.
    wait_until(lambda: not busy.agent.open_orders(), what="no order is left open", limit_s=30)
    assert {row["outcome"] for row in busy.agent.listed("history")} == {"done"}
    busy.close()


def test_no_job_is_ordered_to_grow_where_its_partition_would_let_no_companion_start(cluster, site):
    busy = site(cluster)
    closed = {"large": "MinNodes=2", "down": "State=DOWN", "drains": "State=DRAIN", "theirs": "AllowAccounts=physics"}
    for name in closed:
        cluster.run("scontrol", "create", f"PartitionName={name}", f"Nodes={','.join(cluster.nodes)}")
    try:
        stuck = [busy.elastic(f"--partition={name}") for name in closed]
        for name, what in closed.items():
            cluster.run("scontrol", "update", f"PartitionName={name}", what)
        grows = busy.elastic()
        busy.fill()
        busy.agent.wait_for_size(grows.job_id, NODES - len(stuck))
        assert busy.ordered() == {str(grows.job_id)}
        busy.close()
    finally:
        cluster.cancel_all()
        cluster.wait_until_idle()
        for name in closed:
            cluster.run("scontrol", "delete", f"PartitionName={name}")
