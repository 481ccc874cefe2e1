"""What companions are to Slurm: what they inherit, how they are refused; and giving back nodes of the first allocation."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterator
from typing import Any

import pytest

from flexmpi.slurm.times import seconds_of
from tests.applications import wait_until
from tests.devcluster.elastic_jobs import COUNTING, ElasticJob, idle_nodes

pytestmark = pytest.mark.usefixtures("nothing_runs_on")


@pytest.fixture
def reservation(cluster: Any) -> Iterator[str]:
    """Return the name of a reservation of all nodes."""
    user = pwd.getpwuid(os.getuid()).pw_name
    words = ("ReservationName=ours", "StartTime=now", "Duration=60", "Nodes=ALL", f"Users={user}")
    cluster.run("scontrol", "create", "reservation", *words)
    yield "ours"
    cluster.cancel_all()
    cluster.run("scontrol", "delete", "ReservationName=ours")


@pytest.fixture
def feature(cluster: Any) -> Iterator[str]:
    """Return a feature, in a choice of two, that three nodes have."""
    nodes = ",".join(cluster.nodes[:3])
    cluster.run("scontrol", "update", f"NodeName={nodes}", "AvailableFeatures=fast,new", "ActiveFeatures=fast,new")
    yield "fast|new"
    cluster.run("scontrol", "update", f"NodeName={nodes}", "AvailableFeatures=", "ActiveFeatures=")


def record(cluster: Any, job_id: int) -> dict[str, str]:
    """Return what ``scontrol`` shows of a job."""
    words = cluster.run("scontrol", "show", "job", job_id, "--oneliner").split(" ")
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def minutes(cluster: Any, job_id: int) -> int:
    """Return a job's time limit, which is less than an hour."""
    return int(cluster.run("squeue", "--noheader", f"--jobs={job_id}", "--format=%l").partition(":")[0])


def test_companions_inherit_what_a_site_enforces(cluster, folder, shared, reservation, feature):
    asked = (
        f"--partition={shared}",
        f"--reservation={reservation}",
        f"--constraint={feature}",
        "--account=physics",
    )
    job = ElasticJob(cluster, folder, *COUNTING, options=("--nodes=1", *asked, "--mem-per-cpu=100M"), exclusive=False)
    assert job.change("6:any:1")["outcome"] == "done"
    (companion,) = job.companions()
    seen = record(cluster, companion)
    inherited = ("Partition", "Reservation", "Features", "Account", "MinMemoryCPU")
    assert [seen[name] for name in inherited] == [shared, reservation, feature, "physics", "100M"]
    assert seen["NodeList"] in cluster.nodes[:3]
    assert (seen["JobName"], seen["OverSubscribe"], seen["Requeue"]) == (f"flexmpi-{job.job_id}", "NO", "0")
    comment = cluster.run("squeue", "--noheader", f"--jobs={companion}", "--format=%k").strip()
    assert re.fullmatch(rf"a node of the elastic job {job.job_id}, request \d+", comment)
    assert seen["StdOut"] == f"{folder}/flexmpi-{job.job_id}-{companion}.out"
    job.end()


def minutes_left(cluster: Any, job_id: int) -> int:
    """Return how many whole minutes a job has left."""
    left = seconds_of(cluster.run("squeue", "--noheader", f"--jobs={job_id}", "--format=%L").strip())
    assert left is not None
    return left // 60


def test_companions_have_the_time_that_their_job_has_left_when_they_are_added(cluster, folder):
    job = ElasticJob(cluster, folder, *COUNTING, options=("--nodes=1", "--time=4"))
    job.event("loop")
    known: set[int] = set()
    for limit in (4, 30):
        cluster.run("scontrol", "update", f"JobId={job.job_id}", f"TimeLimit={limit}")
        before = minutes_left(cluster, job.job_id)
        job.change("6:any:1")
        (added,) = set(job.companions()) - known
        known.add(added)
        assert minutes_left(cluster, job.job_id) <= minutes(cluster, added) <= before <= limit
    job.end()


def test_a_node_that_slurm_refuses_is_given_up_with_slurms_own_words_and_the_job_goes_on(cluster, folder, shared):
    job = ElasticJob(cluster, folder, *COUNTING, options=("--nodes=1", f"--partition={shared}"))
    job.event("loop")
    cluster.run("scontrol", "update", f"PartitionName={shared}", "AllocNodes=login")
    refused = job.change("6:node5:1")
    assert refused["outcome"] == "failed"
    assert refused["why"].startswith("Slurm refused node5: ") and "Batch job submission failed" in refused["why"]
    assert "\n" not in refused["why"]
    cluster.run("scontrol", "update", f"PartitionName={shared}", "AllocNodes=ALL")
    assert job.change("6:node5:1")["outcome"] == "done"
    job.end()


def test_a_node_that_is_not_granted_in_time_is_given_up_with_slurms_own_words(cluster, folder):
    job = ElasticJob(cluster, folder, "--grant-timeout=2", *COUNTING)
    job.event("loop")
    busy = cluster.run("sbatch", "--parsable", "--nodes=5", "--output=/dev/null", "--wrap=sleep 600").strip()
    wait_until(lambda: idle_nodes(cluster) == [], what="the cluster is full")
    refused = job.change("6:any:1")
    assert refused["outcome"] == "failed"
    assert "not granted within 2 s" in refused["why"]
    assert re.search(r"Slurm job \d+ is PENDING \(\w+\)$", refused["why"]), refused["why"]
    wait_until(lambda: job.companions() == [], what="nothing of it is left")
    cluster.run("scancel", busy)
    assert job.change("6:any:1")["outcome"] == "done"
    job.end()


def test_a_node_that_was_given_back_is_granted_to_others_at_once_and_again(cluster, folder, shared):
    two = ("--nodes=2", "--ntasks=2", f"--partition={shared}")
    job = ElasticJob(cluster, folder, *COUNTING, options=two, exclusive=False)
    _, other = job.event("started")["placement"]
    assert job.change(f"6:{other}:-1")["nodes_after"] == 1
    wait_until(lambda: other in idle_nodes(cluster), what=f"{other} is idle")
    assert "stays allocated" not in job.output()
    for _ in range(2):
        # Slurm looks for nodes that it can grant every second; one that it has lost sight of it finds after minutes.
        rigid = cluster.run(
            "sbatch", "--parsable", f"--nodelist={other}", "--output=/dev/null", "--wrap=sleep 600"
        ).strip()
        running = f"{rigid} RUNNING\n"
        wait_until(
            lambda: cluster.run("squeue", "--noheader", f"--jobs={rigid}", "--format=%i %T") == running,  # noqa: B023
            what=f"{other} is granted to another job",
            limit_s=40,
        )
        cluster.run("scancel", rigid)
        wait_until(lambda: other in idle_nodes(cluster), what=f"{other} is idle again")
    assert job.change(f"6:{other}:1")["outcome"] == "done"
    job.end()


def test_a_node_of_an_exclusive_first_allocation_is_kept_and_the_output_says_so(cluster, folder):
    job = ElasticJob(cluster, folder, *COUNTING, options=("--nodes=2", "--ntasks=2"))
    _, other = job.event("started")["placement"]
    assert job.change(f"6:{other}:-1")["nodes_after"] == 1
    wait_until(lambda: f"{other} stays allocated to job {job.job_id}" in job.output(), what="the output says so")
    assert other not in idle_nodes(cluster)
    assert job.change(f"6:{other}:1")["outcome"] == "done"
    assert job.companions() == []
    job.end()
