"""Sizes for all jobs together on a real Slurm: what the agent chooses, with the power cap lowered and raised while jobs run."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.applications import wait_until
from tests.devcluster.cluster_agent import LIMIT_S, ClusterAgent
from tests.devcluster.elastic_jobs import ElasticJob, script

NODES = 6
LARGEST = 3
ROWS = 1200
IDLE_W, DYNAMIC_W = 100.0, 50.0
TIMES = ((0.0, 0.3), (0.1, 0.2), (0.25, 0.05))
"""Seconds of an iteration that nodes do not share and that they do: one job scales, one in part, one not."""
SETTINGS = f"""
[power]
[[power.classes]]
nodes = "node[0-{NODES - 1}]"
idle_w = {IDLE_W}
dynamic_w = {DYNAMIC_W}
"""


@pytest.fixture
def agent(cluster: Any) -> Iterator[ClusterAgent]:
    """Return an agent that decides by throughput and knows what nodes draw."""
    folder = Path(tempfile.mkdtemp(prefix="fx-sizing-", dir="/tmp"))
    agent = ClusterAgent(cluster, folder, more=SETTINGS, policy="throughput")
    yield agent
    agent.close()
    shutil.rmtree(folder)
    cluster.cancel_all()
    cluster.wait_until_idle()


@pytest.fixture
def submit(agent: ClusterAgent, cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., ElasticJob]:
    def submit_one(serial: float, shared: float) -> ElasticJob:
        options = (f"--agent={agent.folder}", "--interval=0.5s", f"--nodes=1-{LARGEST}", "--processes-per-node=1")
        timed = (f"--rows={ROWS}", f"--row-s={shared / ROWS}", f"--serial-s={serial}", f"--iterations={10**9}")
        program = (script("benchmarks/programs/timed.py"), *timed)
        return ElasticJob(cluster, tmp_path_factory.mktemp("s"), *options, *program)

    return submit_one


def best(speeds: Sequence[Callable[[int], float]], *, busy: int) -> tuple[int, ...]:
    """Try all sizes of all jobs, with so many nodes in all, and return those with the largest sum."""
    sizes = (sizes for sizes in product(range(1, LARGEST + 1), repeat=len(speeds)) if sum(sizes) <= busy)
    return max(sizes, key=lambda sizes: sum(speed(size) for speed, size in zip(speeds, sizes, strict=True)))


def true_speed(serial: float, shared: float) -> Callable[[int], float]:
    return lambda nodes: (serial + shared) / (serial + shared / nodes)


def have_settled(agent: ClusterAgent, jobs: Sequence[ElasticJob], expected: tuple[int, ...], *, busy: int) -> bool:
    """Whether jobs have the expected sizes, and these are the best of all by what the agent has learnt by now."""
    held = {row["job"]: len(row["nodes"]) for row in agent.listed("jobs")}
    if tuple(held.get(str(job.job_id)) for job in jobs) != expected or agent.open_orders():
        return False
    answers = [agent.asked("explain", job.job_id)["alternatives"] for job in jobs]
    values = [{row["nodes"]: row["value"] for row in rows} for rows in answers]
    if any(set(known) != set(range(1, LARGEST + 1)) for known in values):
        return False
    return best([known.__getitem__ for known in values], busy=busy) == expected


def settle(agent: ClusterAgent, jobs: Sequence[ElasticJob], expected: tuple[int, ...], *, busy: int) -> None:
    """Wait until `have_settled`."""
    try:
        wait_until(
            lambda: have_settled(agent, jobs, expected, busy=busy),
            what=f"{expected} nodes with {busy} busy, which enumeration of what the agent has learnt finds too",
            limit_s=LIMIT_S,
        )
    except AssertionError as error:
        explained = "\n".join(agent.command("explain", job.job_id).stdout for job in jobs)
        raise AssertionError(f"{error}\n{explained}\n{agent.words()[-3000:]}") from None


def watts(busy: int) -> float:
    return NODES * IDLE_W + busy * DYNAMIC_W


@pytest.mark.timeout(600)
def test_the_sizes_are_those_of_enumeration_under_a_power_cap_that_is_lowered_and_raised(agent, submit):
    jobs = [submit(*times) for times in TIMES]
    for job in jobs:
        job.event("agent", registered=True)
    for cap_w, busy in ((None, NODES), (watts(4) + 1, 4), (None, NODES)):
        changed = agent.command("powercap", "none" if cap_w is None else cap_w, "--wait")
        assert changed.returncode == 0, changed.stderr
        expected = best([true_speed(*times) for times in TIMES], busy=busy)
        settle(agent, jobs, expected, busy=busy)
        draw = agent.asked("powercap")
        assert draw["drawn_w"] == watts(sum(expected))
        assert cap_w is None or draw["drawn_w"] <= cap_w
    shown = agent.command("explain", jobs[1].job_id).stdout
    assert len(shown.splitlines()) <= 24
    print(shown)
    for job in jobs:
        job.send("5:")
        job.wait_until_over()
        job.check_clean()
