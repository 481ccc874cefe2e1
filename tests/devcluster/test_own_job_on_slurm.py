"""What a job learns of itself from a real Slurm: whatever its user has called it, and however long it may run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from flexmpi.errors import ConfigurationError
from flexmpi.runtime.providers import allocation
from tests.applications import wait_until
from tests.devcluster.elastic_jobs import COUNTING, ElasticJob

pytestmark = pytest.mark.usefixtures("nothing_runs_on")

HOSTILE = "a\nJobId=9 OverSubscribe=OK StdOut=/x/y MinMemoryNode=7M MinMemoryCPU=8M b"
CALLED = (f"--job-name={HOSTILE}", f"--comment={HOSTILE}", f"--wckey={HOSTILE}", f"--account={HOSTILE}")


@pytest.fixture
def over_time(cluster: Any) -> Iterator[None]:
    """Let jobs run on past their time limits, until the end of the test."""
    cluster.configure("OverTimeLimit=UNLIMITED", says="OverTimeLimit = UNLIMITED")
    yield
    cluster.cancel_all()
    cluster.configure(says="OverTimeLimit = 0 min")


def test_a_companion_inherits_what_its_job_has_and_not_what_its_job_is_called(cluster, folder):
    job = ElasticJob(cluster, folder, *COUNTING, options=("--nodes=1", "--mem=500M", *CALLED))
    assert job.change("6:any:1")["outcome"] == "done"
    (companion,) = job.companions()
    (seen,) = [each for each in cluster.jobs() if each["job_id"] == companion]
    assert (seen["memory_per_node"], seen["memory_per_cpu"], seen["account"]) == (500, None, HOSTILE.lower())
    assert seen["standard_output"] == f"{folder}/flexmpi-{job.job_id}-%j.out"
    assert (folder / f"flexmpi-{job.job_id}-{companion}.out").exists()
    job.end()


@pytest.mark.parametrize("json", [True, False], ids=["JSON", "text"])
@pytest.mark.parametrize("asked", ["--mem=700M", "--mem-per-cpu=100M"])
def test_json_and_text_tell_a_job_the_same_of_itself(cluster, folder, shared, monkeypatch, json, asked):
    output = folder / "o ut%j"
    output.mkdir()
    option = (f"--partition={shared}", asked, f"--output={str(output).replace('%', '%%')}/o")
    environment = folder / "environment"
    wrapped = f"--wrap=env -0 > {environment}; touch {environment}.whole; sleep 600"
    submit = ("sbatch", "--parsable", *option, *CALLED, f"--chdir={folder}", "--array=5", wrapped)
    job = cluster.run(*submit).strip()
    wait_until(lambda: environment.with_suffix(".whole").exists(), what="the job has told its environment")
    inside = dict(line.split("=", 1) for line in environment.read_text().split("\0") if "=" in line)
    ask = allocation._ask

    def without_json(*command: str) -> str:
        if "--json" in command:
            raise ConfigurationError("this Slurm prints no JSON")
        return ask(*command)

    monkeypatch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])
    if not json:
        monkeypatch.setattr(allocation, "_ask", without_json)
    parent = allocation.read_allocation(inside).parent
    assert (parent.job_id, parent.partition, parent.account) == (job, shared, HOSTILE.lower())
    memory = {"--mem": parent.memory, "--mem-per-cpu": parent.memory_per_core}
    name, _, amount = asked.partition("=")
    assert memory.pop(name) == amount and set(memory.values()) == {None}
    assert (parent.exclusive, parent.output_folder) == (False, output)
    assert (parent.qos, parent.reservation, parent.constraint, parent.gres) == (None, None, None, None)


def test_a_job_of_500_days_runs_and_grows(cluster, folder):
    job = ElasticJob(cluster, folder, *COUNTING, options=("--nodes=1", "--time=500-0"))
    assert job.change("6:any:1")["outcome"] == "done"
    (companion,) = job.companions()
    (seen,) = [each for each in cluster.jobs() if each["job_id"] == companion]
    assert 499 * 24 * 60 < seen["time_limit"] <= 500 * 24 * 60
    job.end()


def test_past_its_time_limit_a_job_is_refused_more_nodes_until_the_limit_is_raised(cluster, folder, over_time):
    job = ElasticJob(cluster, folder, *COUNTING, options=("--nodes=1", "--time=10"))
    job.event("loop")
    cluster.run("scontrol", "update", f"JobId={job.job_id}", "TimeLimit=0")
    refused = job.change("6:any:1")
    assert refused["outcome"] == "failed"
    assert refused["why"] == f"job {job.job_id} is past its time limit, so no node can be added to it"
    assert job.companions() == []
    cluster.run("scontrol", "update", f"JobId={job.job_id}", "TimeLimit=500-0")
    assert job.change("6:any:1")["outcome"] == "done"
    job.end()


def test_a_job_whose_output_is_thrown_away_grows_and_so_is_its_companions(cluster, folder):
    job = ElasticJob(cluster, folder, *COUNTING, options=("--nodes=1", "--output=/dev/null"))
    assert job.change("6:any:1")["outcome"] == "done"
    (companion,) = job.companions()
    (seen,) = [each for each in cluster.jobs() if each["job_id"] == companion]
    assert seen["standard_output"] == "/dev/null"
    job.end()
