"""However a job ends after a handover, it says why once, and gives its status on, as before any change.

What is left behind is checked by the `start` fixture.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.applications import COREFILES, PROGRAMS, Application

Start = Callable[..., Application]
ERROR = "flexmpi: error: "


def changed(start: Start, folder: Path, *how: str) -> Application:
    """Start a program that ends so once there is a file ``now``, and add a rank to its two."""
    options = ("--change=handover", f"--corefile={COREFILES / 'demo.core'}", "--interval=0.05s", "-q", "-n2")
    application = start(*options, PROGRAMS / "ending.py", *how, f"--when={folder / 'now'}")
    application.wait_for("loop")
    done = application.change("6:lhost:1")
    assert (done["outcome"], done["ranks_after"]) == ("done", 3), done
    application.wait_for("sample")
    return application


def ended(application: Application, folder: Path) -> tuple[int, str, str]:
    (folder / "now").touch()
    return application.finish()


STATUSES = {
    "exit:3": (3, None),
    "signal:SIGSEGV": (139, r"rank \d \(.*\) was killed by signal 11 \(SIGSEGV\)"),
    "abort:5": (
        5,
        r"(rank|mpiexec of process set) \d \(.*\) .*ended .*with status 5(, as after MPI_Abort| before the application did)",
    ),
}


@pytest.mark.parametrize("how", STATUSES)
def test_after_a_change_the_exit_status_is_the_applications(start: Start, tmp_path: Path, how: str) -> None:
    expected, message = STATUSES[how]
    status, _, errors = ended(changed(start, tmp_path, how), tmp_path)
    told = [line for line in errors.splitlines() if line.startswith(ERROR)]
    assert (status, len(told)) == (expected, message is not None), errors
    assert message is None or re.fullmatch(ERROR + message, told[0]), errors


@pytest.mark.parametrize(("where", "all_ranks"), [("inside", False), ("after", True)])
def test_after_a_change_an_exception_is_told_once_with_the_users_own_frames(
    start: Start, tmp_path: Path, where: str, all_ranks: bool
) -> None:
    application = changed(start, tmp_path, where, *["--all"][: int(all_ranks)])
    status, _, errors = ended(application, tmp_path)
    assert status == 1
    assert errors.count("Traceback (most recent call last):") == 1, errors
    assert errors.count(f"RuntimeError: a failure {where} the session") == 1
    assert re.fullmatch(ERROR + r"rank \d \(.*\) raised an exception", errors.splitlines()[-1]), errors
    assert "flexmpi/runtime/rank/main.py" not in errors and "runpy" not in errors, errors


@pytest.mark.parametrize("how", [("well",), ("skip", "--all")], ids=["exit", "os._exit"])
def test_after_a_change_a_job_that_has_done_its_work_succeeds_however_its_processes_end(
    start: Start, tmp_path: Path, how: tuple[str, ...]
) -> None:
    status, output, errors = ended(changed(start, tmp_path, *how), tmp_path)
    assert (status, errors) == (0, "")
    assert output.count("has done its work") == 3
