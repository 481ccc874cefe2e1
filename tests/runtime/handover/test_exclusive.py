"""What only one may have open changes hands at a handover; where that fails the old world has it again and goes on."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.applications import COREFILES, PROGRAMS, Application, wait_until

Start = Callable[..., Application]
PROGRAM = PROGRAMS / "exclusive.py"
OPTIONS = (f"--corefile={COREFILES / 'demo.core'}", "--interval=0.02s", "--quiet", "-n2")


def started(start: Start, folder: Path, *options: str, change: str = "handover") -> Application:
    application = start(f"--change={change}", *OPTIONS, *options, PROGRAM, f"--folder={folder}")
    application.wait_for("loop")
    return application


def ends_right(application: Application, folder: Path, *, ranks: int, times: int) -> str:
    """End it; return what was said. Rank 0 has written a line for each iteration, in whatever world."""
    (folder / "until").touch()
    status, output, errors = application.finish()
    lines = {f"rank {rank} of {ranks} opened its lock {times} times" for rank in range(ranks)}
    assert (status, set(output.splitlines())) == (0, lines), errors
    written = [int(line) for line in (folder / "lock-0").read_text().splitlines()]
    assert written == list(range(len(written)))
    return errors


def test_a_port_and_a_lock_change_hands_in_each_handover(start: Start, tmp_path: Path) -> None:
    application = started(start, tmp_path)
    for command, ranks in (("6:node2:2", 4), ("6:lhost:-2", 2), ("6:lhost:1", 3)):
        event = application.change(command)
        assert (event["outcome"], event["ranks_after"]) == ("done", ranks), event
    assert ends_right(application, tmp_path, ranks=3, times=1) == ""


FAILURES = {
    "raise": r"a new rank \(.*\): flex.exclusive \(.*/exclusive.py:\d+\) raised OSError: no lock today",
    "hang": r"reconfiguration 1: the new ranks did not take over the rows within 2 s \(--stall-timeout\)",
    "kill": r"a new rank \(.*\) was killed by signal 9 \(SIGKILL\) before it took over",
}


@pytest.mark.parametrize("failure", FAILURES)
def test_where_a_successor_cannot_open_it_the_old_world_opens_it_again_and_a_later_change_is_done(
    start: Start, tmp_path: Path, failure: str
) -> None:
    application = started(start, tmp_path, "--stall-timeout=2" if failure == "hang" else "--stall-timeout=30")
    (tmp_path / "fail").write_text(failure)
    dropped = application.change("6:node2:2")
    assert dropped["outcome"] == "failed" and re.fullmatch(FAILURES[failure], dropped["why"]), dropped
    wait_until(lambda: len(application.rank_pids()) == 2, what="the successor is gone")
    (tmp_path / "fail").unlink()
    application.wait_for("sample")
    assert application.change("6:node2:1")["outcome"] == "done"
    errors = ends_right(application, tmp_path, ranks=3, times=1)
    assert errors == f"flexmpi: reconfiguration 1 was dropped: {dropped['why']}\n"


def test_an_old_world_that_was_refused_computes_on_with_what_it_has_opened_again(start: Start, tmp_path: Path) -> None:
    application = started(start, tmp_path)
    (tmp_path / "fail").write_text("raise")
    assert application.change("6:node2:2")["outcome"] == "failed"
    assert application.change("6:node2:2")["outcome"] == "failed"
    ends_right(application, tmp_path, ranks=2, times=3)


def test_where_the_old_world_cannot_open_it_again_the_job_ends_with_the_programs_error(
    start: Start, tmp_path: Path
) -> None:
    application = started(start, tmp_path)
    (tmp_path / "fail").write_text("raise again")
    application.send("6:node2:2")
    status, _, errors = application.finish()
    assert status == 1
    assert errors.count("OSError: the lock is gone") == 1
    assert re.search(
        r"\(.*exclusive.py:\d+\) was opened again here, for a change was given up: .*no lock today", errors
    )
    assert "flexmpi: error: rank 1 (node demo-1" in errors


def test_where_both_worlds_are_lost_while_one_takes_over_the_job_ends_with_the_status_of_the_old_one(
    start: Start, tmp_path: Path
) -> None:
    application = started(start, tmp_path)
    (tmp_path / "fail").write_text("hang")
    old = set(application.rank_pids())
    assert application.send("6:node2:2").startswith("ok: ")
    wait_until((tmp_path / "hangs").exists, what="the successor opens it")
    new = set(application.rank_pids()) - old
    os.kill(max(old), signal.SIGSEGV)
    wait_until(lambda: not old & set(application.rank_pids()), what="the old world is gone")
    os.kill(max(new), signal.SIGKILL)
    status, _, errors = application.finish()
    assert status == 128 + signal.SIGSEGV
    assert len([line for line in errors.splitlines() if line.startswith("flexmpi: error: ")]) == 1, errors


def test_a_successor_that_uses_it_before_its_loop_is_told(start: Start, tmp_path: Path) -> None:
    application = start("--change=handover", *OPTIONS, PROGRAM, f"--folder={tmp_path}", "--too-early")
    application.wait_for("loop")
    dropped = application.change("6:node2:2")
    assert re.search(
        r"UsageError: flex.exclusive \(.*/exclusive.py:\d+\) has no value: the world that computes has it",
        dropped["why"],
    )
    ends_right(application, tmp_path, ranks=2, times=1)


def test_a_rank_that_joins_others_is_told_that_it_cannot_have_it(start: Start, tmp_path: Path) -> None:
    application = started(start, tmp_path, change="join")
    dropped = application.change("6:node2:1")
    assert "UsageError: flex.exclusive: a rank that joins others cannot open it" in dropped["why"]
    ends_right(application, tmp_path, ranks=2, times=1)
