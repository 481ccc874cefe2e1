"""Ranks that a warm parent forks: they are what ranks of ``mpiexec`` are, and whatever goes wrong ends in a cold start."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.applications import PROGRAMS, Application, Event, command_line, wait_until

Start = Callable[..., Application]
CHECKING = {"join": "contract.py", "handover": "succession.py"}
"""Programs that check all they hold, by how ranks change."""


@pytest.fixture
def options(tmp_path: Path) -> tuple[str, ...]:
    """Two virtual nodes of four cores, and a rank on the first."""
    corefile = tmp_path / "two.core"
    corefile.write_text("n0:4:lhost:100:1000\nn1:4:node2:100:1000\n")
    return f"--corefile={corefile}", "--interval=0.02s", "--quiet", "-n1", "--warm"


def warm(start: Start, options: tuple[str, ...], tmp_path: Path, program: str, *arguments: str) -> Application:
    """Start an application, and wait until its first node has a warm parent."""
    application = start(*options, PROGRAMS / program, f"--until={tmp_path / 'stop'}", *arguments)
    application.wait_for("loop")
    assert of_node(application, "warm_parent", "n0")["problem"] is None
    return application


def of_node(application: Application, event: str, node: str) -> Event:
    """Return the last such event of a node that has been seen, or wait for one."""
    seen = [each for each in application.seen if each["event"] == event and each["node"] == node]
    return seen[-1] if seen else application.wait_for(event, node=node)


def started_warm(application: Application) -> list[bool]:
    """Return of each process set whether it was forked, the founders' last."""
    return [event["warm"] for event in reversed(application.seen) if event["event"] == "pset_started"]


@pytest.fixture
def how(change: str) -> str:
    """How ranks change in this test."""
    return change


def change(application: Application, command: str) -> Event:
    done = application.change(command)
    assert done["outcome"] == "done", done
    return done


def end(application: Application, tmp_path: Path) -> str:
    (tmp_path / "stop").touch()
    status, output, _ = application.finish()
    assert status == 0, output
    return output


def warm_parents(application: Application) -> list[int]:
    return [pid for pid in application.processes() if b"flexmpi.runtime.rank.warm" in command_line(pid)]


def test_forked_newcomers_join_hold_the_right_data_park_and_leave(
    start: Start, options: tuple[str, ...], tmp_path: Path
) -> None:
    application = warm(start, options, tmp_path, "contract.py")
    assert change(application, "6:lhost:1")["ranks_after"] == 2
    assert change(application, "6:lhost:2")["ranks_after"] == 4
    assert started_warm(application) == [True, True, False]
    assert len(application.rank_pids()) == 4
    assert change(application, "6:lhost:-1")["ranks_after"] == 3
    assert len(application.rank_pids()) == 4, "one is parked"
    assert change(application, "6:lhost:1")["ranks_after"] == 4
    assert change(application, "6:lhost:-3")["ranks_after"] == 1
    assert "all was right" in end(application, tmp_path)


def test_a_successor_on_one_node_is_forked_and_holds_the_right_data(
    start: Start, options: tuple[str, ...], tmp_path: Path
) -> None:
    application = warm(start, (*options, "--change=handover"), tmp_path, "succession.py")
    for command, ranks in (("6:lhost:2", 3), ("6:lhost:-1", 2), ("6:node2:1", 3), ("6:node2:-1", 2)):
        assert change(application, command)["ranks_after"] == ranks
    assert started_warm(application) == [True, False, True, True, False], "one on two nodes is not"
    wait_until(lambda: len(application.rank_pids()) == 2, what="predecessors are gone")
    assert "all was right" in end(application, tmp_path)


def test_forked_ranks_can_be_prepared(start: Start, options: tuple[str, ...], tmp_path: Path) -> None:
    application = warm(start, options, tmp_path, "contract.py")
    assert change(application, "13:lhost:2")["ready"] == {"n0": 2}
    assert started_warm(application)[0] and len(application.rank_pids()) == 3
    assert change(application, "6:lhost:2")["ranks_after"] == 3
    assert "all was right" in end(application, tmp_path)


def test_a_program_sees_no_difference(start: Start, options: tuple[str, ...], tmp_path: Path) -> None:
    application = warm(start, options, tmp_path, "introspecting.py", "--touch=nothing")
    change(application, "6:lhost:2")
    change(application, "6:node2:2")
    assert started_warm(application) == [False, True, False]
    told = [json.loads(line) for line in end(application, tmp_path).splitlines()]
    ranks: dict[tuple[int, int], dict[str, Any]] = {(each["pset"], each["rank"]): each for each in told}
    assert sorted(ranks) == [(1, 0), (1, 1), (2, 0), (2, 1)]
    for rank in (0, 1):
        forked, ordinary = ranks[1, rank]["seen"], ranks[2, rank]["seen"]
        different = set(forked.pop("environment").items()) ^ set(ordinary.pop("environment").items())
        assert not different
        assert forked == ordinary
    draws = [draw for each in told for draw in each["draws"]]
    assert len(set(draws)) == len(draws), "no rank draws another's random numbers"


@pytest.mark.parametrize("touched", ["environment", "rc"])
def test_a_program_that_settles_things_before_mpi_is_started_cold(
    start: Start, options: tuple[str, ...], tmp_path: Path, touched: str
) -> None:
    program = (PROGRAMS / "introspecting.py", f"--until={tmp_path / 'stop'}", f"--touch={touched}")
    application = start(*options, *program)
    application.wait_for("loop")
    change(application, "6:lhost:1")
    assert started_warm(application) == [False, False] and not warm_parents(application)
    end(application, tmp_path)


def test_without_its_warm_parent_a_node_starts_ranks_cold_and_then_has_another(
    start: Start, options: tuple[str, ...], tmp_path: Path
) -> None:
    application = warm(start, options, tmp_path, "contract.py")
    change(application, "6:lhost:1")
    (parent,) = warm_parents(application)
    os.kill(parent, signal.SIGKILL)
    wait_until(lambda: not warm_parents(application), what="the warm parent is gone")
    assert change(application, "6:lhost:1")["ranks_after"] == 3, "the rank that it had forked goes on"
    wait_until(lambda: bool(warm_parents(application)), what="there is another warm parent")
    # The cold rank has opened its session before it joined, and what comes now follows that.
    if not any(event["event"] == "warm_parent" for event in application.seen[seen_joining(application) :]):
        assert application.wait_for("warm_parent")["problem"] is None
    assert change(application, "6:lhost:1")["ranks_after"] == 4
    assert started_warm(application) == [True, False, True, False]
    assert "all was right" in end(application, tmp_path)


def seen_joining(application: Application) -> int:
    """Return where in the events the first reconfiguration is."""
    return next(place for place, event in enumerate(application.seen) if event["event"] == "reconfiguration")


AT_THE_START = {
    "threads": "import threading, time; threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()",
    "ends": "import os; os._exit(3)",
    "no MPI": "import os; os.environ['UCX_TLS'] = 'there_is_no_such_transport'",
}


@pytest.mark.parametrize(
    ("what", "problem"),
    [
        ("threads", "the imports have started 1 threads, which no forked rank would have"),
        ("ends", "it has ended while it imported"),
        ("no MPI", "ranks that it has forked did not initialise MPI"),
    ],
)
def test_a_warm_parent_that_is_of_no_use_does_no_harm(
    start: Start, options: tuple[str, ...], tmp_path: Path, what: str, problem: str | None
) -> None:
    only_there = "'flexmpi.runtime.rank.warm' in open('/proc/self/cmdline').read()"
    (tmp_path / "sitecustomize.py").write_text(f"if {only_there}:\n    {AT_THE_START[what]}\n")
    program = (PROGRAMS / "contract.py", f"--until={tmp_path / 'stop'}")
    application = start(*options, *program, environment={"PYTHONPATH": str(tmp_path)})
    application.wait_for("loop")
    first = of_node(application, "warm_parent", "n0")
    assert change(application, "6:lhost:2")["ranks_after"] == 3
    assert started_warm(application) == [False, False] and not warm_parents(application)
    told = [first] if first["problem"] else [each for each in application.seen if each["event"] == "warm_parent"][1:]
    assert [each["problem"] for each in told] == [problem]
    assert "all was right" in end(application, tmp_path)


def test_newcomers_that_fail_are_dropped_with_the_reason(
    start: Start, options: tuple[str, ...], tmp_path: Path
) -> None:
    application = warm(start, options, tmp_path, "newcomers.py", "--newcomers=raise,exit,sleep")
    (founder,) = application.rank_pids()
    for reason in ("raised ValueError: this newcomer has no input", "ended with status 3"):
        failed = application.change("6:lhost:1")
        assert failed["outcome"] == "failed" and reason in failed["why"], failed
    wait_until(lambda: application.rank_pids() == [founder], what="the newcomers are gone")
    assert application.send("6:lhost:1").startswith("ok: reconfiguration 3")
    application.wait_for("pset_started")
    os.kill(max(set(application.rank_pids()) - {founder}), signal.SIGKILL)
    failed = application.wait_for("reconfiguration", id=3)
    assert failed["outcome"] == "failed" and "was killed by signal 9" in failed["why"], failed
    assert change(application, "6:lhost:1")["ranks_after"] == 2
    assert started_warm(application) == [True, True, True, True, False]
    assert "right on 2 ranks" in end(application, tmp_path)


@pytest.mark.both_changes
def test_a_member_that_is_killed_ends_the_job_as_any_other(
    start: Start, options: tuple[str, ...], tmp_path: Path, how: str
) -> None:
    application = warm(start, options, tmp_path, CHECKING[how])
    before = application.rank_pids()
    change(application, "6:lhost:2")
    victim = max(set(application.rank_pids()) - set(before))
    os.kill(victim, signal.SIGKILL)
    status, _, errors = application.finish()
    assert status == 128 + signal.SIGKILL
    assert f"process set 1, pid {victim}) was killed by signal 9 (SIGKILL)" in errors, errors


@pytest.mark.both_changes
@pytest.mark.parametrize(("ending", "status"), [("abort:5", 5), ("vanish:7", 7), ("signal:SIGSEGV", 139)])
def test_a_forked_member_that_ends_all_is_named_with_its_status_and_not_those_that_are_ended_for_it(
    start: Start, options: tuple[str, ...], tmp_path: Path, ending: str, status: int
) -> None:
    application = start(*options, PROGRAMS / "ending.py", ending, f"--when={tmp_path / 'stop'}")
    application.wait_for("loop")
    assert of_node(application, "warm_parent", "n0")["problem"] is None
    change(application, "6:lhost:2")
    assert started_warm(application) == [True, False]
    (tmp_path / "stop").touch()
    ended, _, errors = application.finish()
    said = (
        "was killed by signal 11 (SIGSEGV)"
        if status > 128
        else f"ended with status {status} before the application did"
    )
    assert ended == status and re.search(rf"error: rank 1 \(.*, process set 1, .*\) {re.escape(said)}", errors), errors


@pytest.mark.both_changes
def test_the_traceback_of_a_member_shows_the_programs_frames_alone(
    start: Start, options: tuple[str, ...], tmp_path: Path
) -> None:
    application = warm(start, options, tmp_path, "introspecting.py", "--fail=1")
    assert application.send("6:lhost:2").startswith("ok: ")
    status, _, errors = application.finish()
    assert status == 1 and "RuntimeError: a failure of a member" in errors
    assert "introspecting.py" in errors and "flexmpi/runtime" not in errors and "runpy" not in errors, errors


@pytest.mark.parametrize("victim", ["supervisor", "launcher", "Ctrl-C"])
@pytest.mark.both_changes
def test_nothing_is_left_when_the_job_ends_abruptly(
    start: Start, options: tuple[str, ...], tmp_path: Path, victim: str, how: str
) -> None:
    application = warm(start, options, tmp_path, CHECKING[how])
    change(application, "6:lhost:2")
    (parent,) = warm_parents(application)
    if victim == "Ctrl-C":
        os.killpg(application.process.pid, signal.SIGINT)
    elif victim == "supervisor":
        application.process.kill()
    else:
        os.kill(int(Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[1]), signal.SIGKILL)
    application.wait_until_gone()
