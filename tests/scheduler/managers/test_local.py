"""Virtual nodes of this machine: what only the local manager does, and that no process outlives its job or its owner."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flexmpi.cluster.platform import Node
from flexmpi.cluster.state import JobState
from flexmpi.cluster.submission import Submission
from flexmpi.configuration import platform_text
from flexmpi.errors import ManagerError
from flexmpi.scheduler.managers.local import REMEMBERED, LocalManager
from tests.applications import wait_until
from tests.scheduler.managers.managed import HELD, Managed

NODES = [Node("a", 4, "big"), Node("b", 2, "small"), Node("c", 2, "small")]
LIMIT_S = 30.0

# Ignores SIGTERM, and so does what it leaves in a session of its own.
STUBBORN = """#!/bin/bash
trap '' TERM
setsid sh -c 'trap "" TERM; echo $$ >> "$0"; while :; do sleep 0.1; done' "$1" &
echo $$ >> "$1"
while :; do sleep 0.1; done
"""
LEAVES_SOMETHING = """#!/bin/sh
setsid sleep 600 &
echo $! >> "$1"
"""
POLITE = """#!/bin/sh
trap 'echo asked >> "$1"; exit 0' TERM
echo $$ >> "$1"
while :; do sleep 0.05; done
"""


@pytest.fixture
def managed() -> Iterator[Managed]:
    with Managed(LocalManager(NODES, grace_s=0.5)) as managed:
        yield managed


def run(managed: Managed, script: str, told: Path, **options: object) -> int:
    told.touch()
    settings = {"output": "/dev/null", **options}
    return managed.submit(Submission(script=script, arguments=(str(told),), **settings))  # type: ignore[arg-type]


def lines(told: Path, count: int) -> list[str]:
    """Wait for so many lines of a file."""
    wait_until(lambda: len(told.read_text().splitlines()) >= count, what=f"{count} lines in {told}", limit_s=LIMIT_S)
    return told.read_text().splitlines()


def test_a_job_that_ignores_sigterm_is_killed_with_all_that_fled(managed, tmp_path, ended_processes):
    job_id = run(managed, STUBBORN, tmp_path / "told")
    ended_processes += map(int, lines(tmp_path / "told", 2))
    managed.manager.cancel(job_id)
    seen = managed.manager.snapshot()
    assert seen.job_of[job_id].state is JobState.COMPLETING and not seen.node_of["a"].is_free
    assert managed.until_ended(job_id).job_of[job_id].state is JobState.CANCELLED


def test_a_job_that_is_cancelled_may_end_in_order(managed, tmp_path):
    job_id = run(managed, POLITE, tmp_path / "told")
    lines(tmp_path / "told", 1)
    managed.manager.cancel(job_id)
    assert lines(tmp_path / "told", 2)[1] == "asked"
    managed.until_ended(job_id)


def test_what_a_script_leaves_behind_ends_with_the_job(managed, tmp_path, ended_processes):
    job_id = run(managed, LEAVES_SOMETHING, tmp_path / "told")
    assert managed.until_ended(job_id).job_of[job_id].state is JobState.COMPLETED
    ended_processes += map(int, lines(tmp_path / "told", 1))


def test_a_time_limit_ends_the_job_and_the_next_one_starts(managed, tmp_path, ended_processes):
    job_id = run(managed, STUBBORN, tmp_path / "told", time_limit_s=0.3, nodes=3)
    after = managed.hold(tmp_path, nodes=3)
    ended_processes += map(int, lines(tmp_path / "told", 2))
    after.until_running()
    ended = managed.job(job_id)
    assert (ended.state, ended.reason, ended.time_limit_s) == (JobState.TIMEOUT, "TimeLimit", 0.3)


def test_a_job_behind_one_that_waits_says_priority(managed, tmp_path):
    first = managed.hold(tmp_path)
    second = managed.hold(tmp_path, nodes=3)
    third = managed.hold(tmp_path)
    first.until_running()
    seen = managed.manager.snapshot()
    assert [seen.job_of[job.job_id].reason for job in (first, second, third)] == [None, "Resources", "Priority"]
    first.release()
    second.until_running()
    second.release()
    third.until_running()


def test_a_job_may_be_constrained_to_a_class_of_nodes(managed, tmp_path):
    assert managed.hold(tmp_path, constraint="small", nodes=2).until_running().nodes == ("b", "c")


def test_a_job_is_told_of_itself_and_nothing_of_slurm(managed, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "99")
    script = f"#!{sys.executable}\nimport json, os\nprint(json.dumps(dict(os.environ)))\n"
    job_id = managed.submit(
        Submission(
            script=script, name="n", nodes=2, array="4", output=str(tmp_path / "o-%A-%a"), environment={"A": "1"}
        )
    )
    managed.until_ended(job_id)
    told = json.loads((tmp_path / f"o-{job_id}-4").read_text())
    wanted = {
        "A": "1",
        "FLEXMPI_JOB_ID": str(job_id),
        "FLEXMPI_JOB_NAME": "n",
        "FLEXMPI_JOB_NODES": "a,b",
        "FLEXMPI_JOB_CORES": "4,2",
        "FLEXMPI_JOB_PARTITION": "local",
        "FLEXMPI_JOB_PLATFORM": platform_text(NODES),
        "FLEXMPI_SUBMIT_DIR": str(Path.cwd()),
        "FLEXMPI_ARRAY_JOB_ID": str(job_id),
        "FLEXMPI_ARRAY_TASK_ID": "4",
    }
    assert told.items() >= wanted.items()
    assert not any(name.startswith("SLURM_") for name in told)


@pytest.mark.parametrize(
    ("script", "status", "said"),
    [
        ("#!/bin/sh\nexit 3\n", JobState.FAILED, "NonZeroExitCode"),
        ("#!/bin/sh\nkill -KILL $$\n", JobState.FAILED, "NonZeroExitCode"),
        ("#!/nonexistent/interpreter\n", JobState.FAILED, "NonZeroExitCode"),
    ],
)
def test_a_script_that_fails_or_cannot_run_is_a_failed_job(managed, tmp_path, script, status, said):
    job_id = managed.submit(Submission(script=script, output=str(tmp_path / "output")))
    ended = managed.until_ended(job_id).job_of[job_id]
    assert (ended.state, ended.reason) == (status, said)
    assert ("cannot be run: No such file" in (tmp_path / "output").read_text()) == ("interpreter" in script)


def test_a_job_that_cannot_be_started_is_failed_and_frees_its_nodes(managed, tmp_path):
    job_id = managed.submit(Submission(script=HELD, directory=str(tmp_path / "missing"), nodes=3))
    ended = managed.until_ended(job_id).job_of[job_id]
    assert ended.state is JobState.FAILED and str(tmp_path / "missing") in str(ended.reason)
    assert managed.hold(tmp_path, nodes=3).until_running()


def test_only_the_last_jobs_are_remembered(managed, tmp_path):
    blocker = managed.hold(tmp_path, nodes=3)
    first = managed.submit(Submission(script=HELD, array=f"0-{REMEMBERED}"))
    managed.manager.cancel(first)
    seen = managed.manager.snapshot()
    assert len(seen.jobs) == REMEMBERED + 1 and first not in seen.job_of and blocker.job_id in seen.job_of


def test_closing_ends_all_jobs_and_takes_no_more(tmp_path, ended_processes):
    manager = LocalManager(NODES, grace_s=0.5)
    (tmp_path / "told").touch()
    for _ in range(4):
        manager.submit(Submission(script=POLITE, arguments=(str(tmp_path / "told"),), output="/dev/null"))
    ended_processes += map(int, lines(tmp_path / "told", 3))
    manager.close()
    assert {job.state for job in manager.snapshot().jobs} == {JobState.CANCELLED}
    with pytest.raises(ManagerError, match="has been closed"):
        manager.submit(Submission(script=POLITE))


OWNER = """
import sys
from flexmpi.cluster.platform import Node
from flexmpi.cluster.submission import Submission
from flexmpi.scheduler.managers.local import LocalManager
manager = LocalManager([Node("a", 1, "a")], grace_s=0.5)
manager.submit(Submission(script=sys.argv[1], arguments=(sys.argv[2],), output="/dev/null"))
sys.stdin.read()
"""
SAYS_WHEN_THE_JOB_IS_OVER = """
while not manager.snapshot().jobs[0].is_ended:
    pass
print(flush=True)
sys.stdin.read()
"""


def test_neither_jobs_nor_files_outlive_an_owner_that_is_killed(tmp_path):
    told = tmp_path / "told"
    told.touch()
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    owner = subprocess.Popen([sys.executable, "-c", OWNER, STUBBORN, told], stdin=subprocess.PIPE, env=environment)
    pids = [int(line) for line in lines(told, 2)]
    owner.kill()
    owner.wait()
    assert owner.stdin is not None
    owner.stdin.close()
    wait_until(lambda: not any(map(_lives, pids)), what="the job's processes have ended", limit_s=LIMIT_S)
    wait_until(lambda: list(tmp_path.iterdir()) == [told], what="its folder is gone", limit_s=LIMIT_S)


def test_an_owner_that_is_killed_while_nothing_runs_leaves_no_file(tmp_path):
    program = OWNER.replace("sys.stdin.read()\n", SAYS_WHEN_THE_JOB_IS_OVER)
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", program, "#!/bin/sh\n", ""]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"\n"
        owner.kill()
    assert list(tmp_path.iterdir()) == []


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_a_snapshot_costs_no_process(managed):
    before = set(os.listdir("/proc/self/task"))
    for _ in range(100):
        managed.manager.snapshot()
    assert set(os.listdir("/proc/self/task")) == before
