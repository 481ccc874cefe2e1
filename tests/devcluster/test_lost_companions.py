"""Companions that ``sbatch`` does not tell of, that wait, and that nobody wants any more: none of them is left in the queue."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.applications import Event, wait_until
from tests.devcluster.elastic_jobs import COUNTING, ElasticJob, idle_nodes

pytestmark = pytest.mark.usefixtures("nothing_runs_on")


@pytest.fixture
def full(cluster: Any) -> str:
    """Fill all nodes but one, where the job is to run; return the number of the job that does."""
    return str(cluster.run("sbatch", "--parsable", "--nodes=5", "--output=/dev/null", "--wrap=sleep 600")).strip()


def started(
    cluster: Any, folder: Path, *options: str, sbatch: str | None = None, squeue: str | None = None
) -> ElasticJob:
    """Start a job that finds an ``sbatch`` or ``squeue`` of the site's own on its path, in which ``$REAL`` is the real one."""
    shims = folder / "bin"
    shims.mkdir()
    for name, text in (("sbatch", sbatch), ("squeue", squeue)):
        if text is not None:
            (shims / name).write_text(f"#!/bin/sh\nREAL={shutil.which(name)}\n{text}\n")
            (shims / name).chmod(0o755)
    path = f"{shims}:{os.environ['PATH']}"
    job = ElasticJob(cluster, folder, *options, *COUNTING, options=("--nodes=1", f"--export=ALL,PATH={path}"))
    job.event("loop")
    return job


def nothing_is_left(job: ElasticJob) -> None:
    wait_until(lambda: job.companions() == [], what="no companion is in the queue")


def is_done(job: ElasticJob, command: str) -> Event:
    event = job.change(command)
    assert event["outcome"] == "done", event["why"]
    return event


def is_dropped(job: ElasticJob, command: str) -> Event:
    event = job.change(command)
    assert event["outcome"] == "failed", event
    return event


@pytest.mark.parametrize(
    "sbatch",
    [
        'printf "Submitted batch job %d on cluster x\\n" "$("$REAL" "$@")"',
        '"$REAL" "$@" >/dev/null && echo thank you',
        '"$REAL" "$@"; exec sleep 600',
        '"$REAL" "$@"; echo "sbatch: error: Socket timed out on send/recv operation" >&2; exit 1',
    ],
    ids=["another form", "no number", "no end", "an error"],
)
def test_a_node_is_added_and_given_back_whatever_a_sites_sbatch_prints(cluster, folder, sbatch):
    job = started(cluster, folder, sbatch=sbatch)
    grown = is_done(job, "6:any:1")
    (node,) = grown["changes"]
    is_done(job, f"6:{node}:-1")
    wait_until(lambda: node in idle_nodes(cluster), what=f"{node} is idle")
    job.end()


def test_a_companion_that_one_list_lacks_keeps_its_node(cluster, folder):
    once, lacked = folder / "once", folder / "lacked"
    lacks = f'case "$*" in *--name=*) [ -e {once} ] && mv {once} {lacked} && exit 0;; esac\nexec "$REAL" "$@"'
    job = started(cluster, folder, squeue=lacks)
    grown = job.change("6:any:1")
    (node,) = grown["changes"]
    # Each change has Slurm asked again.
    once.touch()
    for _ in range(2):
        is_done(job, "6:any:1")
    assert lacked.exists()
    assert len(job.companions()) == 3 and node not in idle_nodes(cluster)
    job.end()


@pytest.mark.parametrize(
    "sbatch",
    [
        '"$REAL" "$@"; exec sleep 600',
        '"$REAL" "$@" && printf "Your balance:\\n500\\n"',
        # As where slurmctld takes its time for what has reached it.
        'cat >"$0.in"; setsid sh -c \'sleep 2; exec "$@"\' sh "$REAL" "$@" <"$0.in" & exec sleep 600',
    ],
    ids=["submitted at once", "a balance", "submitted late"],
)
def test_a_companion_whose_number_nobody_has_learnt_is_cancelled_when_its_change_is_dropped(
    cluster, folder, full, sbatch
):
    job = started(cluster, folder, "--grant-timeout=1", sbatch=sbatch)
    why = is_dropped(job, "6:any:1")["why"]
    assert "a node was not granted within 1 s: " in why
    wait_until(lambda: bool(submitted(cluster, job)), what="Slurm has its companion")
    nothing_is_left(job)
    assert job.state() == "RUNNING"


def submitted(cluster: Any, job: ElasticJob) -> list[str]:
    """Return the companions that a job ever had."""
    return str(
        cluster.run("squeue", "--noheader", "--states=all", f"--name=flexmpi-{job.job_id}", "--format=%i")
    ).split()


def test_a_companion_that_is_being_submitted_when_the_job_ends_does_not_outlive_it(cluster, folder, full):
    job = started(cluster, folder, sbatch='"$REAL" "$@"; exec sleep 600')
    assert job.send("6:any:1").startswith("ok: ")
    wait_until(lambda: len(job.companions()) == 1, what="Slurm has its companion")
    job.end()
    assert job.companions() == []


def test_a_job_that_is_no_companion_is_left_alone_whatever_number_sbatch_prints(cluster, folder):
    other = cluster.run("sbatch", "--parsable", "--output=/dev/null", "--wrap=sleep 600").strip()
    job = started(cluster, folder, "--grant-timeout=2", sbatch=f'"$REAL" "$@" >/dev/null && echo {other}')
    is_done(job, "6:any:1")
    wait_until(lambda: len(idle_nodes(cluster)) == 3, what="three nodes are in use")
    job.end()
    assert cluster.run("squeue", "--noheader", f"--jobs={other}", "--format=%T").strip() == "RUNNING"


def test_a_job_named_like_a_companion_from_before_its_parent_is_anothers_and_left_alone(cluster, folder):
    held = ("sbatch", "--parsable", "--hold", "--output=/dev/null", "--wrap=true")
    older = int(cluster.run(*held))
    cluster.run("scontrol", "update", f"JobId={older}", f"JobName=flexmpi-{older + 1}")
    times = ("env", "SLURM_TIME_FORMAT=%s", "sh", "-c", "date +%s; squeue --noheader --format=%V")

    def is_older() -> bool:
        today, then = map(int, cluster.run(*times).split())
        return today > then

    wait_until(is_older, what="it was submitted in an earlier second")
    job = started(cluster, folder)
    assert job.job_id == older + 1
    is_done(job, "6:any:1")
    (folder / "stop").touch()
    wait_until(lambda: job.state() == "COMPLETED", what="the job is over")
    assert job.companions() == [older]


def test_a_pending_companion_that_somebody_cancels_is_noticed_long_before_the_timeout(cluster, folder, full):
    job = started(cluster, folder, "--grant-timeout=600")
    assert job.send("6:any:1").startswith("ok: ")
    wait_until(lambda: len(job.companions()) == 1, what="its companion waits")
    (companion,) = job.companions()
    cluster.run("scancel", companion)
    dropped = job.event("reconfiguration", id=1, limit_s=20)
    assert dropped["why"] == f"a node was not granted: Slurm job {companion} is CANCELLED"
    job.end()


def ends(cluster: Any, job_id: int) -> int | None:
    """Return when a job's limit ends it."""
    told = cluster.run("env", "SLURM_TIME_FORMAT=%s", "squeue", "--noheader", f"--jobs={job_id}", "--format=%e")
    return int(told) if told.strip().isdecimal() else None


def now(cluster: Any) -> int:
    return int(cluster.run("date", "+%s"))


def test_the_limit_of_a_companion_that_waited_ends_with_its_jobs(cluster, folder, full):
    job = started(cluster, folder, "--grant-timeout=60")
    until = now(cluster) + 122
    cluster.run("scontrol", "update", f"JobId={job.job_id}", "TimeLimit=5")
    cluster.run("scontrol", "update", f"JobId={job.job_id}", f"EndTime=uts{until}")
    assert ends(cluster, job.job_id) == until
    assert job.send("6:any:1").startswith("ok: ")
    wait_until(lambda: until - now(cluster) < 118, what="its two minutes would end too late")
    (companion,) = job.companions()
    cluster.run("scancel", full)
    assert job.event("reconfiguration", id=1)["outcome"] == "done"
    wait_until(lambda: ends(cluster, companion) == until, what="both end at the same time")
    job.end()


def test_each_any_of_a_command_is_a_node_of_its_own(cluster, folder):
    job = started(cluster, folder)
    reply = job.send("6:any:1:any:2")
    assert reply == "ok: reconfiguration 1: start 1 rank on any, start 2 ranks on any#2"
    grown = job.event("reconfiguration", id=1)
    assert (grown["outcome"], grown["nodes_after"], grown["ranks_after"]) == ("done", 3, 4), grown["why"]
    assert sorted(grown["changes"].values()) == [1, 2] and set(grown["changes"]) <= set(cluster.nodes)
    assert len(job.companions()) == 2
    assert re.search(r"counted \d+ iterations on 4 ranks", job.end())
