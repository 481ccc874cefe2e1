"""What jobs that wait need, by each way to read Slurm, of one real queue."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from flexmpi.scheduler.deciding.supply import waiting_jobs
from flexmpi.scheduler.managers import ResourceManager
from flexmpi.scheduler.managers.slurm_cli import SlurmCli
from flexmpi.scheduler.managers.slurm_pyslurm import SlurmPyslurm
from tests.applications import wait_until
from tests.devcluster.clusters import Cluster
from tests.scheduler.managers.conftest import CORES, NODES, missing_pyslurm

NEEDS = {
    "-n8": 2,
    "-n3 --ntasks-per-node=1": 3,
    "-n12 -N1-4": 3,
    "-n3 -c3": 3,
    "-n8 --overcommit": 1,
    "-N2": 2,
    "-n4 --mem-per-cpu=400": 2,
    "-n5 -N2-3": 2,
}


@pytest.fixture(params=["json", "text", "pyslurm"])
def reading(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[ResourceManager]:
    environment = {**os.environ, **cluster.environment}
    if request.param == "pyslurm":
        if reason := missing_pyslurm(cluster):
            pytest.skip(reason)
        manager: ResourceManager = SlurmPyslurm(environment=environment)
    else:
        manager = SlurmCli(environment=environment, json=request.param == "json")
    yield manager
    manager.close()


@pytest.fixture(scope="module")
def queue(cluster: Cluster) -> Iterator[dict[int, str]]:
    """Return the numbers of jobs that wait behind one that has all nodes, with their options."""

    def submit(*options: str) -> int:
        command = ("sbatch", "--parsable", "--output=/dev/null", *options, "--wrap=sleep 300")
        return int(cluster.run(*command).strip())

    first = submit(f"--nodes={len(NODES)}")
    wait_until(lambda: "RUNNING" in cluster.run("squeue", f"--jobs={first}", "--format=%T"), what="all nodes are taken")
    numbers = {submit(*options.split()): options for options in NEEDS}
    yield numbers
    cluster.run("scancel", first, *numbers)
    cluster.wait_until_idle()


def test_a_job_that_waits_needs_as_many_nodes_however_slurm_is_read(reading, queue):
    seen: list[dict[str, int]] = []

    def counted() -> bool:
        found = {queue[job.job_id]: job.nodes for job in waiting_jobs(reading.snapshot()) if job.job_id in queue}
        seen[:] = [found]
        return len(found) == len(NEEDS)

    wait_until(counted, what=f"all jobs wait for nodes of {CORES} cores: {seen}")
    assert seen == [NEEDS]


def test_partitions_are_read_however_slurm_is(reading, cluster):
    cluster.run("scontrol", "create", "PartitionName=large", "Nodes=node0", "MinNodes=2", "Hidden=YES", "State=DRAIN")
    try:
        partitions = {partition.name: partition for partition in reading.snapshot().partitions}
    finally:
        cluster.run("scontrol", "delete", "PartitionName=large")
    assert (partitions["large"].minimum_nodes, partitions["large"].accepts_jobs) == (2, False)
    assert partitions["main"].accepts_jobs and partitions["main"].starts_jobs
