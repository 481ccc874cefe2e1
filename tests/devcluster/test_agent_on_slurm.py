"""The agent with a real Slurm: elastic jobs submitted with ``sbatch`` grow into idle nodes and make room for others."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flexmpi.trust.users import name_of_user
from tests.applications import PROGRAMS, REPOSITORY, wait_until
from tests.devcluster.cluster_agent import ClusterAgent, become
from tests.devcluster.elastic_jobs import ElasticJob, idle_nodes

pytestmark = pytest.mark.usefixtures("nothing_runs_on")

NODES = 6
KILLS = 6


@pytest.fixture
def agent(cluster: Any) -> Iterator[Callable[..., ClusterAgent]]:
    agents: list[ClusterAgent] = []

    def start(**settings: object) -> ClusterAgent:
        # Not below pytest's own folder, which other users cannot enter.
        agents.append(ClusterAgent(cluster, Path(tempfile.mkdtemp(prefix="fx-agent-", dir="/tmp")), **settings))
        return agents[-1]

    yield start
    for each in agents:
        each.close()
        shutil.rmtree(each.folder)


@pytest.fixture
def submit(cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., ElasticJob]:
    """Submit an elastic job that counts for long, and finds the agent that is given."""

    def submit_one(
        agent: ClusterAgent,
        *,
        nodes: str = f"1-{NODES}",
        iterations: int = 1_000_000,
        folder: Path | None = None,
        owner: int | None = None,
    ) -> ElasticJob:
        folder = folder or tmp_path_factory.mktemp("e")
        as_owner = () if owner is None else (f"--uid={owner}", f"--gid={owner}")
        options = ("--interval=0.1s", f"--nodes={nodes}", f"--agent={agent.folder}", "--processes-per-node=1")
        program = (PROGRAMS / "counting.py", "--pause=0.005", f"--iterations={iterations}")
        job = ElasticJob(cluster, folder, *options, *program, options=("--nodes=1", *as_owner))
        job.event("agent", registered=True)
        return job

    return submit_one


def end(*jobs: ElasticJob) -> None:
    """End jobs in order and check that nothing is left of them."""
    for job in jobs:
        job.send("5:")
        job.wait_until_over()
        job.check_clean()


def waited_s(cluster: Any, job_id: int) -> float:
    """Return how long a job has waited, by Slurm's own account."""
    (job,) = [each for each in cluster.jobs() if each["job_id"] == job_id]
    return float(job["start_time"] - job["submit_time"])


def wait_until_running(cluster: Any, job_id: int) -> None:
    """Wait until Slurm has started a job."""
    wait_until(lambda: "RUNNING" in cluster.run("squeue", f"--jobs={job_id}", "--format=%T"), what=f"{job_id} runs")


def test_a_lone_job_grows_to_all_nodes_and_makes_room_within_seconds_for_a_job_that_waits(cluster, agent, submit):
    fills = agent(policy="fill")
    elastic = submit(fills)
    fills.wait_for_size(elastic.job_id, NODES)
    waits = []
    for _ in range(2):
        rigid = int(cluster.run("sbatch", "--parsable", "--nodes=3", "--output=/dev/null", "--wrap=sleep 300").strip())
        fills.wait_for_size(elastic.job_id, 3)
        wait_until_running(cluster, rigid)
        waits.append(waited_s(cluster, rigid))
        cluster.run("scancel", rigid)
        fills.wait_for_size(elastic.job_id, NODES)
    # The better of two, for the machine may be busy.
    assert min(waits) <= 5, waits
    (row,) = fills.listed("jobs")
    assert len(row["companions"]) == NODES - 1
    assert row["node_hours"] > 0
    end(elastic)


def test_nodes_are_not_kept_on_for_a_job_that_does_not_start_with_them_and_a_restart_does_not_forget_it(
    cluster, agent, submit
):
    fills = agent(policy="triggered", second_look_s=3)
    elastic = submit(fills)
    (row,) = fills.listed("jobs")
    # No two of the other nodes are neighbours, so Slurm gives the waiting job none; its reason does not say so.
    for node in cluster.nodes[1 - cluster.nodes.index(row["nodes"][0]) % 2 :: 2]:
        cluster.run("sbatch", f"--nodelist={node}", "--output=/dev/null", "--wrap=sleep 300")
    assert fills.command("policy", "fill").returncode == 0
    fills.wait_for_size(elastic.job_id, NODES // 2)
    odd = cluster.run("sbatch", "--parsable", "--nodes=2", "--contiguous", "--output=/dev/null", "--wrap=true").strip()
    fills.wait_for_size(elastic.job_id, 1)
    fills.wait_for_size(elastic.job_id, NODES // 2)
    (disappointed,) = fills.listed("history", odd)
    assert disappointed["outcome"] == "failed"
    assert "reason Resources; nothing is kept or given back for it for 10 min" in disappointed["why"]
    fills.kill()
    fills.start()
    plain = int(cluster.run("sbatch", "--parsable", "--output=/dev/null", "--wrap=sleep 300").strip())
    wait_until_running(cluster, plain)
    assert (fills.size(elastic.job_id), len(fills.listed("history", odd))) == (NODES // 2 - 1, 1)
    cluster.run("scancel", odd)
    end(elastic)


def test_two_elastic_jobs_have_equal_shares(agent, submit):
    shares = agent(policy="fair")
    first = submit(shares)
    shares.wait_for_size(first.job_id, NODES)
    second = submit(shares)
    shares.wait_for_size(first.job_id, NODES // 2)
    shares.wait_for_size(second.job_id, NODES // 2)
    end(first)
    shares.wait_for_size(second.job_id, NODES)
    end(second)


def test_people_resize_a_job_and_hear_what_it_cost_and_what_slurm_refuses(cluster, agent, submit):
    obeys = agent()
    elastic = submit(obeys, nodes="1-3")
    grown = obeys.command("expand", elastic.job_id, "node3", "--wait")
    assert grown.returncode == 0, grown.stderr
    assert "stall" in grown.stdout
    assert obeys.size(elastic.job_id) == 2
    too_many = obeys.command("expand", elastic.job_id, 5)
    assert too_many.returncode == 1
    assert "may have 3 at most" in too_many.stderr + too_many.stdout or "free" in too_many.stderr
    left = obeys.command("shrink", elastic.job_id, "--wait")
    assert left.returncode == 0, left.stderr
    wait_until(lambda: len(idle_nodes(cluster)) == NODES - 1, what="the node is idle")
    end(elastic)


@pytest.fixture
def open_to_all(cluster: Any) -> Iterator[None]:
    """Let other users reach the cluster's own munged and run jobs, as they do on a site."""
    spool = cluster.folder / "spool"
    folders = (cluster.folder, cluster.folder / "munge", spool, *(spool / node for node in cluster.nodes))
    before = [folder.stat().st_mode & 0o777 for folder in folders]
    for folder in folders:
        folder.chmod(0o711)
    yield
    for folder, mode in zip(folders, before, strict=True):
        folder.chmod(mode)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_an_operator_may_resize_another_users_job_a_third_user_may_not(agent, submit, open_to_all):
    operator, third = 2, 3
    obeys = agent(operators=[operator])
    elastic = submit(obeys)
    refused = obeys.command("expand", elastic.job_id, uid=third)
    assert refused.returncode == 1
    assert f"{name_of_user(third)} may not expand" in refused.stderr
    allowed = obeys.command("expand", elastic.job_id, "--wait", uid=operator)
    assert allowed.returncode == 0, allowed.stderr
    mode = obeys.command("mode", "off", uid=third)
    assert mode.returncode == 1
    end(elastic)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_a_job_is_its_owners_by_munge_and_slurm_wherever_this_checkout_is(cluster, agent, open_to_all):
    """The job's ranks are not real here, so that no other user has to run this interpreter under Slurm."""
    owner, third = 2, 3
    obeys = agent()
    as_owner = (f"--uid={owner}", f"--gid={owner}", "--chdir=/tmp", "--output=/dev/null")
    job_id = int(cluster.run("sbatch", "--parsable", *as_owner, "--wrap=sleep 600").strip())
    wait_until_running(cluster, job_id)
    (node,) = cluster.run("squeue", "--noheader", f"--jobs={job_id}", "--format=%N").split()
    obedient = [sys.executable, "-m", "tests.devcluster.obedient", str(obeys.folder), str(job_id), node]
    try:
        stolen = subprocess.run(
            [*become(third), *obedient], capture_output=True, text=True, timeout=60, cwd=REPOSITORY, check=False
        )
        assert stolen.returncode != 0
        assert f"{name_of_user(third)} may not register" in stolen.stderr, stolen.stderr
        with subprocess.Popen([*become(owner), *obedient], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as played:
            try:
                assert played.stdout is not None and played.stdout.readline() == "registered\n"
                for command in ("expand", "shrink", "balance", "stop"):
                    refused = obeys.command(command, job_id, uid=third)
                    assert refused.returncode == 1
                    assert f"{name_of_user(third)} may not {command} this job" in refused.stderr
                grown = obeys.command("expand", job_id, "--wait", uid=owner)
                assert grown.returncode == 0, grown.stderr
                assert obeys.size(job_id) == 2
                assert obeys.command("mode", "off", uid=owner).returncode == 1
            finally:
                played.kill()
    finally:
        cluster.run("scancel", job_id)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_an_owner_may_resize_his_own_job_and_nobody_elses(cluster, agent, submit, open_to_all, owners_folder):
    owner, folder = owners_folder
    probe = ["sbatch", "--wait", f"--uid={owner}", f"--gid={owner}", f"--chdir={folder}", "--output=/dev/null"]
    try:
        cluster.run(*probe, f"--wrap=exec {sys.executable} -c 'import flexmpi'")
    except AssertionError:
        pytest.skip("jobs of other users cannot reach this checkout or its interpreter")
    obeys = agent()
    his = submit(obeys, folder=folder, owner=owner)
    grown = obeys.command("expand", his.job_id, "--wait", uid=owner)
    assert grown.returncode == 0, grown.stderr
    assert obeys.size(his.job_id) == 2
    other = submit(obeys)
    refused = obeys.command("shrink", other.job_id, uid=owner)
    assert refused.returncode == 1
    assert f"{name_of_user(owner)} may not shrink this job" in refused.stderr
    ended = obeys.command("stop", his.job_id, "--wait", uid=owner)
    assert ended.returncode == 0, ended.stderr
    his.wait_until_over()
    his.check_clean()
    end(other)


@pytest.fixture
def owners_folder() -> Iterator[tuple[int, Path]]:
    """Return an ordinary user and a folder of his."""
    uid = 2
    folder = Path(tempfile.mkdtemp(prefix="fx-own-", dir="/tmp"))
    os.chown(folder, uid, uid)
    yield uid, folder
    shutil.rmtree(folder)


def test_off_gives_all_extra_nodes_back_and_jobs_run_on_without_an_agent(cluster, agent, submit):
    fills = agent(policy="fill")
    elastic = submit(fills)
    fills.wait_for_size(elastic.job_id, NODES)
    assert fills.command("mode", "off").returncode == 0
    fills.wait_for_size(elastic.job_id, 1)
    fills.kill(signal.SIGTERM)
    assert elastic.change("6:any:1")["outcome"] == "done"
    fills.start()
    fills.wait_for_size(elastic.job_id, 1)
    end(elastic)


def test_an_agent_killed_at_any_moment_loses_no_node_and_grants_none_twice(cluster, agent, submit):
    fills = agent(policy="fill")
    elastic = submit(fills)
    moments = random.Random(5)
    for kill in range(KILLS):
        # Odd: while the job grows; even: while it shrinks for one that waits.
        if kill % 2 == 0:
            fills.wait_for_size(elastic.job_id, NODES)
            rigid = int(
                cluster.run("sbatch", "--parsable", "--nodes=3", "--output=/dev/null", "--wrap=sleep 300").strip()
            )
        else:
            wait_until_running(cluster, rigid)
            cluster.run("scancel", rigid)
        end_at = time.monotonic() + moments.uniform(0.0, 2.5)
        wait_until(lambda: time.monotonic() >= end_at, what="the moment has come", limit_s=10)  # noqa: B023
        fills.kill()
        fills.start()
    fills.wait_for_size(elastic.job_id, NODES)
    wait_until(lambda: not fills.open_orders(), what="no order is left open", limit_s=30)
    assert len(elastic.companions()) == NODES - 1
    end(elastic)


def arrivals(
    cluster: Any, agent: ClusterAgent, submit: Callable[..., ElasticJob], *, seconds: float, seed: int
) -> None:
    """Let elastic and rigid jobs come and go at random, and check at the end that nothing is stuck or left."""
    dice = random.Random(seed)
    elastic: list[ElasticJob] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if len(elastic) < 2 and len(idle_nodes(cluster)) > 0:
            elastic.append(submit(agent, iterations=dice.randint(500, 3000)))
        size, length = dice.randint(1, 4), dice.randint(1, 8)
        cluster.run("sbatch", f"--nodes={size}", "--output=/dev/null", f"--wrap=sleep {length}")
        pause = time.monotonic() + dice.expovariate(1 / 6)
        wait_until(lambda: time.monotonic() >= pause, what="the next arrival", limit_s=120)  # noqa: B023
        elastic = [job for job in elastic if job.state() == "RUNNING"]
    for job in elastic:
        assert job.wait_until_over(limit_s=180) == "COMPLETED", job.output()[-3000:]
        job.check_clean()
    cluster.wait_until_idle()
    wait_until(lambda: agent.listed("jobs") == [], what="the agent has seen that all jobs are over", limit_s=30)
    wait_until(lambda: not agent.open_orders(), what="no order is left open", limit_s=30)
    failed = [row for row in agent.listed("history") if row["outcome"] == "failed"]
    print(f"seed {seed}: {len(agent.listed('history'))} decisions, {len(failed)} failed")


@pytest.mark.timeout(420)
def test_half_a_minute_of_random_arrivals_ends_clean(cluster, agent, submit):
    arrivals(cluster, agent(policy="fill"), submit, seconds=30, seed=11)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_half_an_hour_of_random_arrivals_ends_clean(cluster, agent, submit):
    seed = int(os.environ.get("FLEXMPI_SOAK_SEED", "2026"))
    arrivals(cluster, agent(policy="fill"), submit, seconds=1800, seed=seed)
