"""What only a real Slurm can show: the ways to read it agree, and nothing in the environment changes what is read."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from flexmpi.cluster.hostlists import expand_hosts
from flexmpi.cluster.request import Request
from flexmpi.cluster.state import Snapshot
from flexmpi.cluster.submission import Submission
from flexmpi.errors import ManagerError
from flexmpi.scheduler.managers.slurm_cli import SlurmCli
from tests.devcluster.clusters import Cluster
from tests.scheduler.managers.managed import HELD, Managed

# As tasks of an array they cannot be folded, and are far more than 64 characters.
SQUARES = [number * number for number in range(1, 32)]

# Each of them alone changes what Slurm's commands print, or what a job is.
HOSTILE = {
    "SLURM_TIME_FORMAT": "relative",
    "SQUEUE_FORMAT": "%j",
    "SQUEUE_STATES": "SUSPENDED",
    "SQUEUE_USERS": "nobody",
    "SINFO_FORMAT": "%P",
    "SLURM_JOB_ID": "4711",
    "SLURM_CLUSTERS": "elsewhere",
    "SBATCH_COMMENT": "meant for another",
    "SBATCH_PARTITION": "nosuch",
    "SBATCH_EXPORT": "NONE",
    "SCANCEL_STATE": "SUSPENDED",
}


@pytest.fixture
def managed(cluster: Cluster) -> Iterator[Managed]:
    with Managed(SlurmCli(environment={**os.environ, **cluster.environment, **HOSTILE})) as managed:
        yield managed


def told_in_text(seen: Snapshot) -> dict[int, object]:
    """Return the jobs without what text does not tell: the most nodes of one that waits, and what one asked for that ended."""
    return {
        job.job_id: dataclasses.replace(
            job,
            maximum_nodes=None if job.is_waiting else job.maximum_nodes,
            minimum_nodes=job.minimum_nodes if job.is_waiting else 0,
            request=Request() if job.is_ended else job.request,
        )
        for job in seen.jobs
    }


def test_the_callers_environment_changes_nothing(managed: Managed, tmp_path: Path):
    held = managed.hold(tmp_path)
    job = held.until_running()
    assert job.comment is None and job.partitions == ("main",)
    managed.manager.cancel(held.job_id)
    managed.until_ended(held.job_id)


def test_text_and_json_tell_the_same(managed: Managed, cluster: Cluster, tmp_path: Path):
    managed.hold(tmp_path, nodes=2, name="a\x1fb|c d", comment='two\nlines, "ü"', time_limit_s=3600).until_running()
    tasks = ",".join(str(number) for number in SQUARES)
    array = managed.hold(tmp_path, array=f"{tasks}%1", node="node5").job_id
    managed.hold(tmp_path, nodes=6, partition="main")
    managed.hold(tmp_path, nodes=2, maximum_nodes=3, node=None).until_running()
    managed.until(lambda seen: sum(job.reason == "Priority" for job in seen.jobs) == 0, what="reasons have settled")
    in_json = managed.manager.snapshot()
    in_text = SlurmCli(environment={**os.environ, **cluster.environment}, json=False).snapshot()
    assert in_text.nodes == in_json.nodes
    assert in_text.job_of[array].array_tasks == tasks.removeprefix("1,")
    assert told_in_text(in_text) == told_in_text(in_json)


def test_a_scripts_own_lines_count_where_the_submission_is_silent(managed: Managed, tmp_path: Path):
    script = HELD.replace("#!/bin/sh\n", '#!/bin/sh\n#SBATCH -t 3 --comment="of its own"\n#SBATCH --job-name=own\n')
    (tmp_path / "told").touch()
    job_id = managed.submit(
        Submission(
            script=script, arguments=(str(tmp_path / "gate"), str(tmp_path / "told")), name="ours", output="/dev/null"
        )
    )
    job = managed.job(job_id)
    assert (job.name, job.comment, job.time_limit_s) == ("ours", "of its own", 180)


def test_host_lists_mean_what_slurm_says(cluster: Cluster):
    for text in ("node[0-3,10]", "n[08-11],x", "r[0-1]n[7,9]", "a,b[1-2]c[01-02]"):
        assert expand_hosts(text) == tuple(cluster.run("scontrol", "show", "hostnames", text).split())


def test_no_slurmctld_is_an_error_in_slurms_words_within_the_limit(cluster: Cluster, tmp_path: Path):
    elsewhere = tmp_path / "slurm.conf"
    text = Path(cluster.environment["SLURM_CONF"]).read_text()
    lines = ["SlurmctldPort=1" if line.startswith("SlurmctldPort=") else line for line in text.splitlines()]
    # One try instead of 9 s of them.
    elsewhere.write_text(
        "\n".join([line for line in lines if not line.startswith("MessageTimeout")] + ["MessageTimeout=1\n"])
    )
    manager = SlurmCli(environment={**os.environ, "SLURM_CONF": str(elsewhere)})
    with pytest.raises(ManagerError, match="Unable to contact slurm controller"):
        manager.snapshot()
