"""The child process with pyslurm in it: what happens when it dies, hangs or cannot start; pyslurm itself is stood in for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flexmpi.cluster.request import Gres
from flexmpi.cluster.state import JobState, NodeState
from flexmpi.cluster.submission import Submission
from flexmpi.errors import ManagerError
from flexmpi.scheduler.managers.pyslurm_process import require_configuration
from flexmpi.scheduler.managers.slurm_pyslurm import CHILD, SlurmPyslurm
from flexmpi.slurm.pyslurm_records import parse_snapshot, submission_options
from tests.applications import wait_until
from tests.scheduler.managers.shims import Shims

FAKE = Path(__file__).with_name("fake_pyslurm.py")
SCRIPT = "#!/bin/sh\ntrue\n"
LIMIT_S = 4.0


class Fake:
    """A manager whose child finds the stand-in, and how that behaves."""

    def __init__(self, folder: Path) -> None:
        (folder / "pyslurm.py").write_text(FAKE.read_text())
        self._behaviour = folder / "behaviour"
        self._starts = folder / "starts"
        self.behave("")
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        self.environment = Shims(folder).environment | {
            "PYTHONPATH": str(folder),
            "FAKE_PYSLURM": str(self._behaviour),
            "TMPDIR": str(self.temporary),
        }
        self.manager = SlurmPyslurm(environment=self.environment, limit_s=LIMIT_S)

    def behave(self, how: str) -> None:
        """Behave so at the next call; with " once" behind it only there."""
        self._behaviour.write_text(how)

    @property
    def pids(self) -> list[int]:
        """The children there were."""
        return [int(line) for line in self._starts.read_text().splitlines()]

    def refusal(self, act) -> str:
        """Return what the manager says when it fails to do something."""
        with pytest.raises(ManagerError) as caught:
            act()
        assert "\n" not in str(caught.value)
        return str(caught.value)


@pytest.fixture
def fake(tmp_path: Path, ended_processes: list[int]) -> Iterator[Fake]:
    fake = Fake(tmp_path)
    yield fake
    fake.manager.close()
    ended_processes += fake.pids


def test_one_child_answers_all_calls(fake):
    fake.behave("chatter")
    for _ in range(3):
        assert fake.manager.snapshot().nodes == ()
    assert fake.manager.submit(Submission(script=SCRIPT, arguments=("x" * 100_000,))) == 7
    fake.manager.cancel(7)
    assert len(fake.pids) == 1


def test_a_node_of_which_pyslurm_cannot_read_a_count_does_not_hide_the_others(fake):
    fake.behave("suffix")
    (node,) = fake.manager.snapshot().nodes
    assert (node.name, node.gres) == ("node0", ())


def test_a_refusal_is_told_in_its_words_and_the_child_lives_on(fake):
    fake.behave("refuse")
    assert fake.refusal(lambda: fake.manager.cancel(7)) == "pyslurm did not cancel job 7: Access/permission denied"
    assert "did not submit the job: Access" in fake.refusal(lambda: fake.manager.submit(Submission(script=SCRIPT)))
    assert len(fake.pids) == 1


def test_where_nodes_are_hidden_a_refusal_names_the_setting_and_the_right_that_is_needed(fake, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 1)
    hidden = "printf 'PrivateData = nodes\\nSlurmUser = slurm(64030)\\n'\n"
    (tmp_path / "bin" / "scontrol").write_text(f"#!/bin/sh\n{hidden}")
    fake.behave("refuse")
    words = fake.refusal(fake.manager.snapshot)
    assert "Access/permission denied: PrivateData hides nodes from the agent's user; make it an operator" in words


@pytest.mark.parametrize("how", ["die once", "hang once"])
def test_a_child_that_fails_is_replaced_once_and_nobody_notices(fake, how):
    fake.behave(how)
    assert fake.manager.snapshot().jobs == ()
    assert len(fake.pids) == 2


@pytest.mark.parametrize(
    ("how", "words"), [("die", "its process ended: without a word"), ("hang", "it did not answer in time")]
)
def test_a_child_that_fails_again_is_reported_and_the_next_call_starts_another(fake, how, words):
    fake.behave(how)
    before = time.monotonic()
    assert fake.refusal(fake.manager.snapshot) == f"pyslurm did not list nodes and jobs: {words}"
    assert time.monotonic() - before < LIMIT_S + 5
    assert len(fake.pids) == 2
    fake.behave("")
    fake.manager.snapshot()
    assert len(fake.pids) == 3


@pytest.mark.parametrize("how", ["die", "hang"])
def test_a_submission_is_never_made_twice_and_leaves_no_file(fake, how):
    fake.behave(how)
    said = fake.refusal(lambda: fake.manager.submit(Submission(script=SCRIPT)))
    assert said.startswith("pyslurm did not submit the job, or did: ")
    assert len(fake.pids) == 1
    assert list(fake.temporary.iterdir()) == []


def test_a_child_that_was_killed_between_calls_is_replaced_even_for_a_submission(fake):
    fake.manager.snapshot()
    os.kill(fake.pids[0], 9)
    wait_until(lambda: _state(fake.pids[0]) == "Z", what="the child has ended", limit_s=10)
    assert fake.manager.submit(Submission(script=SCRIPT)) == 7
    assert len(fake.pids) == 2


def test_why_pyslurm_ends_the_process_is_reported(fake):
    fake.behave("no configuration")
    said = fake.refusal(fake.manager.snapshot)
    assert said.endswith("its process ended: Could not establish a configuration source")
    assert len(fake.pids) == 2


def test_a_python_without_pyslurm_says_so(tmp_path):
    environment = Shims(tmp_path).environment | {"PYTHONPATH": str(tmp_path)}
    (tmp_path / "pyslurm.py").write_text("raise ImportError('libslurm.so.38: cannot open shared object file')")
    manager = SlurmPyslurm(environment=environment, limit_s=LIMIT_S)
    with pytest.raises(ManagerError, match=r"ImportError: libslurm\.so\.38: cannot open shared object file"):
        manager.snapshot()
    manager.close()


def test_a_python_that_is_not_there_is_named(tmp_path):
    manager = SlurmPyslurm(environment=Shims(tmp_path).environment, python="/nonexistent/python")
    with pytest.raises(ManagerError, match="/nonexistent/python cannot be run: No such file"):
        manager.snapshot()


def test_without_a_slurm_configuration_no_child_is_started(fake, tmp_path):
    environment = fake.environment | {"SLURM_CONF": str(tmp_path / "missing.conf")}
    manager = SlurmPyslurm(environment=environment, limit_s=LIMIT_S)
    with pytest.raises(ManagerError, match=r"SLURM_CONF is .*missing.conf, which cannot be read"):
        manager.snapshot()
    assert not (tmp_path / "starts").exists()
    (tmp_path / "starts").touch()


def test_where_a_configuration_is_looked_for_follows_the_commands(tmp_path):
    for folder in ("bin", "etc"):
        (tmp_path / folder).mkdir()
    squeue = tmp_path / "bin" / "squeue"
    squeue.touch()
    squeue.chmod(0o755)
    environment = {"PATH": str(tmp_path / "bin")}
    if not Path("/etc/slurm/slurm.conf").exists():
        with pytest.raises(ManagerError, match="no Slurm configuration in"):
            require_configuration(environment)
    require_configuration(environment | {"SLURM_CONF_SERVER": "head"})
    (tmp_path / "etc" / "slurm.conf").touch()
    require_configuration(environment)


def test_a_child_whose_manager_is_gone_ends(fake, ended_processes):
    child = subprocess.Popen([sys.executable, CHILD], env=fake.environment, stdin=subprocess.PIPE, stdout=-1)
    assert child.stdin is not None and child.stdout is not None
    assert json.loads(child.stdout.readline()) == {"result": "22.5.3"}
    child.stdin.close()
    assert child.wait(10) == 0
    child.stdout.close()


def test_a_child_that_hangs_after_its_manager_died_is_ended_by_its_alarm(fake):
    fake.behave("hang")
    child = subprocess.Popen([sys.executable, CHILD], env=fake.environment, stdin=subprocess.PIPE, stdout=-1)
    assert child.stdin is not None and child.stdout is not None
    child.stdout.readline()
    child.stdin.write(b'{"call": "snapshot", "limit_s": -4}\n')
    child.stdin.close()
    assert child.wait(30) == -14
    child.stdout.close()


JOB = {
    **dict.fromkeys("reservation excluded_nodes comment array_id array_task_id array_tasks_waiting qos".split()),
    "id": 7,
    "name": "n",
    "user_id": 0,
    "user_name": "root",
    "state": "RUNNING",
    "state_reason": "None",
    "allocated_nodes": "node[0-1]",
    "num_nodes": 2,
    "max_nodes": None,
    "partition": "main",
    "account": "a",
    "constraints": ["fast"],
    "required_nodes": "node0",
    "priority": 5,
    "submit_time": 1,
    "start_time": 2,
    "end_time": 62,
    "time_limit": 1,
}
NODE = {
    "name": "node0",
    "total_cpus": 4,
    "threads_per_core": 2,
    "state": "IDLE+DRAIN",
    "partitions": ["main"],
    "active_features": ["fast"],
    "real_memory": 1000,
    "configured_gres": {"tape": 2, "fpga:a100": 1},
    "reason": "bad",
}


def test_what_pyslurm_tells_is_read():
    (node,), (job,) = parse_snapshot({"nodes": [NODE], "jobs": [JOB]})
    assert node.states == {NodeState.IDLE, NodeState.DRAIN} and node.reason == "bad"
    assert node.gres == (Gres("tape", None, 2), Gres("fpga", "a100", 1)) and (node.cores, node.threads_per_core) == (
        4,
        2,
    )
    assert (job.job_id, job.state, job.reason, job.nodes) == (7, JobState.RUNNING, None, ("node0", "node1"))
    assert (job.time_limit_s, job.started_at, job.ends_at, job.constraint) == (60, 2, 62, ({"fast"},))
    assert job.array_job_id is None and job.required_nodes == ("node0",)


@pytest.mark.parametrize(
    "answer", [{}, {"nodes": 1}, {"nodes": [{}], "jobs": []}, {"nodes": [], "jobs": [JOB | {"id": None}]}]
)
def test_what_pyslurm_would_not_tell_is_refused(answer):
    with pytest.raises(ManagerError, match="pyslurm told something else than expected"):
        parse_snapshot(answer)


def test_a_submission_becomes_pyslurms_options():
    submission = Submission(script=SCRIPT, node="node3", time_limit_s=61, exclusive=True, requeue=False)
    options = submission_options(submission, environment={"A": "1"}, host="h", directory="/d")
    told = {"A": "1", "SLURM_SUBMIT_DIR": "/d", "SLURM_SUBMIT_HOST": "h", "SLURM_JOB_NAME": "sbatch"}
    assert options == {
        "name": "sbatch",
        "nodes": "1",
        "ntasks": 1,
        "required_nodes": "node3",
        "time_limit": 2,
        "working_directory": "/d",
        "resource_sharing": "exclusive",
        "is_requeueable": False,
        "environment": told,
    }


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
