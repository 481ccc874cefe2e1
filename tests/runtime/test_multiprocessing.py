"""Whatever a program of several processes has made, its own children and multiprocessing's files, goes with the job.

What else is left behind is checked by the `start` fixture.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from flexmpi.runtime.machine.processes import LONGEST_TEMPORARY_PATH
from tests.applications import PROGRAMS, Application, command_line, wait_until

Start = Callable[..., Application]
LONGEST_SOCKET_PATH = 107


def of_multiprocessing() -> set[Path]:
    """Return what lies in shared memory that is not the MPI library's."""
    return set(Path("/dev/shm").glob("psm_*")) | set(Path("/dev/shm").glob("sem.mp-*"))


def multiprocessed(start: Start, how: str, *options: str) -> tuple[Application, set[Path]]:
    """Start a program with children of its own, and return what they have made in shared memory besides."""
    before = of_multiprocessing()
    application = start(*options, "-q", "-n2", "--interval=0.05s", PROGRAMS / "multiprocessed.py", how)
    application.wait_for("loop")
    made = of_multiprocessing() - before
    assert made and sockets(application)
    return application, made


def sockets(application: Application) -> list[Path]:
    """Return the Unix sockets of multiprocessing that are bound."""
    return list(application.folder.rglob("listener-*"))


def sees_gone(application: Application, made: set[Path]) -> None:
    application.wait_until_gone()
    wait_until(lambda: not made & of_multiprocessing(), what="semaphores and shared memory are gone", limit_s=20)
    wait_until(lambda: not sockets(application), what="sockets are gone", limit_s=20)


@pytest.mark.parametrize("how", ["fork", "spawn", "forkserver"])
def test_after_ctrl_c_nothing_of_the_programs_own_multiprocessing_stays(start: Start, how: str) -> None:
    application, made = multiprocessed(start, how)
    os.killpg(application.process.pid, signal.SIGINT)
    status, _, errors = application.finish()
    told = [line for line in errors.splitlines() if line.startswith("flexmpi: error: ")]
    assert (status, told) == (130, ["flexmpi: error: ended by SIGINT"])
    sees_gone(application, made)


@pytest.mark.parametrize("imported_by", ["the program", "Python's start"])
def test_what_multiprocessing_makes_while_the_job_is_ended_goes_too(
    start: Start, tmp_path: Path, imported_by: str
) -> None:
    script = tmp_path / "script.py"
    script.write_text(NEW_MANAGERS)
    if imported_by == "Python's start":
        (tmp_path / "sitecustomize.py").write_text("import multiprocessing.process\n")
    application = start("-q", "-n2", script, environment={"PYTHONPATH": str(tmp_path)})
    wait_until(lambda: len(sockets(application)) > 4, what="managers are started")
    os.killpg(application.process.pid, signal.SIGINT)
    assert application.finish()[0] == 130
    application.wait_until_gone()


@pytest.mark.parametrize("longer", [0, 1], ids=["as long as it may be", "longer than that"])
def test_a_socket_of_multiprocessing_fits_whatever_the_temporary_folder_is(
    start: Start, tmp_path: Path, longer: int
) -> None:
    short = tempfile.mkdtemp(prefix="fx-", dir="/tmp")
    wanted = Path(short, "x" * (LONGEST_TEMPORARY_PATH + longer - len(short) - 1))
    wanted.mkdir()
    script = tmp_path / "script.py"
    script.write_text(ONE_MANAGER)
    try:
        status, printed, errors = start("-q", "-n1", script, environment={"TMPDIR": str(wanted)}).finish()
        assert (status, errors, list(wanted.iterdir())) == (0, "", [])
    finally:
        shutil.rmtree(short)
    address = Path(printed.strip())
    assert address.is_relative_to("/tmp" if longer else wanted)
    # Node and process set have one digit each here, and may have five.
    assert len(str(address)) + 2 * 4 <= LONGEST_SOCKET_PATH


def test_when_the_supervisor_is_killed_nothing_of_the_programs_own_multiprocessing_stays(start: Start) -> None:
    application, made = multiprocessed(start, "spawn")
    application.process.kill()
    application.finish()
    sees_gone(application, made)


def test_at_a_handover_all_that_old_ranks_have_made_by_multiprocessing_goes_with_them(start: Start) -> None:
    application, made = multiprocessed(start, "spawn", "--change=handover")
    there = sockets(application)
    old = {pid for pid in application.processes() if is_multiprocessings(pid)} | set(application.rank_pids())
    assert len(old) > 4
    assert application.change("6:lhost:-1")["outcome"] == "done"
    wait_until(lambda: not old & set(application.processes()), what="old ranks and their children are gone", limit_s=20)
    wait_until(lambda: not made & of_multiprocessing(), what="semaphores and shared memory are gone", limit_s=20)
    assert not set(there) & set(sockets(application))
    assert application.send("5:").startswith("ok: ")
    assert application.finish()[0] == 143


def is_multiprocessings(pid: int) -> bool:
    return b"multiprocessing" in command_line(pid)


def test_when_a_launcher_is_killed_no_process_of_the_programs_own_stays(start: Start, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(WITH_PROGRAMS)
    application = start("-q", "-n2", "--interval=0.05s", script)
    application.wait_for("loop")
    launcher = next(pid for pid in application.processes() if b"flexmpi.runtime.launcher" in command_line(pid))
    os.kill(launcher, signal.SIGKILL)
    assert application.finish()[0] == 1
    application.wait_until_gone()


WITH_PROGRAMS = """
import subprocess, time
import flexmpi
with flexmpi.session() as flex:
    subprocess.Popen(["sleep", "1000"], start_new_session=True)
    subprocess.run(["sh", "-c", "sleep 1000 & setsid sleep 1000 &"], check=True)
    for _ in flex.iterate(10**9):
        time.sleep(0.001)
"""

NEW_MANAGERS = """
import multiprocessing
import flexmpi
with flexmpi.session() as flex:
    managers = []
    for _ in flex.iterate(10**9):
        managers = managers[-2:] + [multiprocessing.Manager()]
"""

ONE_MANAGER = """
import multiprocessing
import flexmpi
with flexmpi.session() as flex, multiprocessing.Manager() as manager:
    print(manager.address)
"""
