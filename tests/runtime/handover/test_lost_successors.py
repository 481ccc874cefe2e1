"""A successor that fails, or is killed, before it computes is dropped, and the world that computes goes on as it was."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from flexmpi.runtime.machine import processes, shared_files
from tests.applications import COREFILES, PROGRAMS, Application, soak_seed, wait_until

Start = Callable[..., Application]

OPTIONS = ("--change=handover", f"--corefile={COREFILES / 'demo.core'}", "--interval=0.02s", "-q", "-n1")
LONGEST_START_S = 2.0
LONGEST_TAKE_OVER_S = 0.05


@pytest.fixture
def until(tmp_path: Path) -> Path:
    return tmp_path / "until"


def with_successors(start: Start, until: Path, actions: str, *options: str) -> Application:
    application = start(*OPTIONS, *options, PROGRAMS / "newcomers.py", f"--until={until}", f"--newcomers={actions}")
    application.wait_for("loop")
    return application


def ends_right(application: Application, until: Path, *, ranks: int) -> str:
    until.touch()
    status, output, errors = application.finish()
    assert (status, output) == (0, f"right on {ranks} ranks\n"), errors
    return errors


@pytest.mark.every_library
def test_successors_that_end_before_they_are_ready_are_dropped_and_others_take_over_later(
    start: Start, until: Path
) -> None:
    reasons = {
        "exit": r"a new rank \(node demo-\d, .*\) ended with status 3 before it took over",
        "end": r"a new rank \(node demo-\d, .*\) ended before it took over",
    }
    application = with_successors(start, until, ",".join(reasons))
    told = []
    for number, reason in enumerate(reasons.values(), 1):
        dropped = application.change("6:node2:2")
        assert (dropped["outcome"], dropped["ranks_before"]) == ("failed", 1)
        assert re.fullmatch(reason, dropped["why"]), dropped
        told.append(f"flexmpi: reconfiguration {number} was dropped: {dropped['why']}")
        wait_until(lambda: len(application.rank_pids()) == 1, what="the successor is gone")
    assert application.change("6:node2:2")["ranks_after"] == 3
    assert ends_right(application, until, ranks=3).splitlines() == told


FAILURES = {
    "raise": ("raised ValueError: this newcomer has no input", "Traceback (most recent call last):"),
    "say": ('ended with status 1 ("no licence: the server is busy")', "no licence: the server is busy"),
}


@pytest.mark.every_library
@pytest.mark.parametrize("failure", FAILURES)
def test_a_program_that_fails_in_its_successor_says_so_once_and_is_not_tried_again(
    start: Start, until: Path, failure: str
) -> None:
    why, said = FAILURES[failure]
    application = with_successors(start, until, f"{failure},{failure}")
    dropped = application.change("6:node2:2")
    assert dropped["outcome"] == "failed" and why in dropped["why"]
    refused = application.send("6:node2:1")
    assert refused.startswith("error: no world can take over from this application: a new rank")
    assert why in refused
    assert application.send("2:").startswith("error: no world can take over from this application: ")
    errors = ends_right(application, until, ranks=1)
    assert errors.count(said) == 1, errors


def test_successors_that_are_not_ready_in_time_are_dropped(start: Start, until: Path) -> None:
    application = with_successors(start, until, "sleep", "--ready-timeout=1")
    dropped = application.change("6:node2:2")
    assert dropped["outcome"] == "failed"
    assert dropped["why"] == "3 of 3 new ranks were not ready within 1 s (they have not reached flex.iterate)"
    wait_until(lambda: len(application.rank_pids()) == 1, what="the successor is gone")
    ends_right(application, until, ranks=1)


def test_a_change_is_dropped_where_the_working_folder_has_been_removed(
    start: Start, until: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "working"
    folder.mkdir()
    application = start(*OPTIONS, PROGRAMS / "newcomers.py", f"--until={until}", cwd=folder)
    application.wait_for("loop")
    folder.rmdir()
    for _ in range(2):
        dropped = application.change("6:node2:2")
        assert dropped["outcome"] == "failed" and str(folder) in dropped["why"], dropped
    folder.mkdir()
    assert application.change("6:node2:2")["ranks_after"] == 3
    ends_right(application, until, ranks=3)


def test_a_change_in_two_steps_that_fails_in_its_second_leaves_all_as_it_was(start: Start, until: Path) -> None:
    application = with_successors(start, until, ",exit")
    dropped = application.change("6:lhost:-1:node2:2")
    assert dropped["outcome"] == "failed" and dropped["why"].endswith("ended with status 3 before it took over")
    wait_until(lambda: len(application.rank_pids()) == 1, what="the first step is taken back")
    assert application.change("6:lhost:1")["ranks_after"] == 2
    ends_right(application, until, ranks=2)


def test_where_a_step_cannot_be_taken_back_it_is_told_what_there_is(start: Start, until: Path) -> None:
    application = with_successors(start, until, ",exit,exit")
    dropped = application.change("6:lhost:-1:node2:2")
    assert dropped["outcome"] == "failed"
    assert dropped["why"].endswith("; what was added before that stays, there are now 1 on demo-1, 2 on demo-2")
    assert application.change("6:node2:-1:lhost:-1")["ranks_after"] == 1
    ends_right(application, until, ranks=1)


@pytest.mark.every_library
def test_an_application_that_ends_while_its_successor_starts_ends_at_once(start: Start, until: Path) -> None:
    application = with_successors(start, until, "sleep")
    assert application.send("6:node2:2").startswith("ok: ")
    wait_until(lambda: len(application.rank_pids()) > 1, what="a successor starts")
    until.touch()
    dropped = application.wait_for("reconfiguration")
    assert (dropped["outcome"], dropped["why"]) == ("failed", "the application ended first")
    assert application.finish()[0] == 0


KILLS_A_RANK = """
import os, signal
from pathlib import Path

number = os.environ.get("PMI_RANK") or os.environ.get("PMIX_RANK")
if number == "1" and "FLEXMPI_JOINING" in os.environ and (marker := Path(__file__).with_name("killing")).exists():
    marker.unlink()
    os.kill(os.getpid(), signal.SIGKILL)
"""
"""Runs in every Python before anything else does."""


@pytest.mark.every_library
def test_a_rank_that_is_killed_before_it_can_say_hello_is_missed(start: Start, until: Path) -> None:
    folder = until.with_name("start")
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(KILLS_A_RANK)
    application = start(
        *OPTIONS, PROGRAMS / "newcomers.py", f"--until={until}", environment={"PYTHONPATH": str(folder)}
    )
    application.wait_for("loop")
    (folder / "killing").touch()
    dropped = application.change("6:lhost:1:node2:1")
    assert dropped["outcome"] == "failed" and "ready" not in dropped["why"], dropped
    assert not (folder / "killing").exists()
    wait_until(lambda: len(application.rank_pids()) == 1, what="the successor is gone")
    assert application.change("6:node2:2")["ranks_after"] == 3
    ends_right(application, until, ranks=3)


@pytest.mark.every_library
def test_what_a_world_shared_that_is_killed_with_its_mpiexec_is_removed(
    start: Start, until: Path, library: str
) -> None:
    application = with_successors(start, until, "")
    founders = set(application.rank_pids())
    assert application.change("13:node2:2")["outcome"] == "done"
    ranks = set(application.rank_pids()) - founders
    shared = {file.path for file in shared_files.files_of(ranks)}
    assert shared or library != "openmpi", "it keeps its files as long as the world lives"
    processes.end([*{parent_of(rank) for rank in ranks}, *ranks])
    application.wait_for("pset_lost")
    wait_until(lambda: not any(Path(path).exists() for path in shared), what="what it shared is removed")
    assert application.change("6:node2:2")["ranks_after"] == 3
    ends_right(application, until, ranks=3)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def survive_a_kill(start: Start, until: Path, *, seed: int, blocks: str) -> str:
    """Kill a rank of a successor at a random moment, and return what became of the change.

    Every second one is hit while it starts, the others while they take over.
    """
    rng = np.random.default_rng(seed)
    application = with_successors(start, until, "", f"--blocks={blocks}")
    founders = set(application.rank_pids())

    def successor() -> list[int]:
        return sorted(set(application.rank_pids()) - founders)

    is_ready = rng.random() < 0.5
    added = str(rng.choice(["lhost:1", "node2:2"] if is_ready else ["lhost:1", "node2:2", "lhost:2:node2:1"]))
    if is_ready:
        assert application.change(f"13:{added}")["outcome"] == "done"
    assert application.send(f"6:{added}").startswith("ok: ")
    wait_until(lambda: bool(successor()), what="there is a successor")
    # Nothing is waited for here: the moment is what is random.
    threading.Event().wait(rng.uniform(0, LONGEST_TAKE_OVER_S if is_ready else LONGEST_START_S))
    os.kill(int(rng.choice(successor())), signal.SIGKILL)
    outcome = str(application.wait_for("reconfiguration")["outcome"])
    until.touch()
    status, output, errors = application.finish()
    if status == 0:
        assert "right on" in output
    else:
        # It had taken over: it was the application then, and nobody else had its rows any more.
        (told,) = (line for line in errors.splitlines() if line.startswith("flexmpi: error: "))
        assert re.match(
            r"flexmpi: error: rank \d \(.*, process set [1-9]\d*, pid \d+\) was killed by signal 9", told
        ), (seed, told)
    application.wait_until_gone()
    return f"seed {seed}: {'take-over' if is_ready else 'start'}: {outcome}, status {status}"


@pytest.mark.every_library
@pytest.mark.parametrize("seed", range(5))
def test_a_successor_that_is_killed_is_dropped_or_the_job_ends_clearly(start: Start, until: Path, seed: int) -> None:
    survive_a_kill(start, until, seed=seed, blocks="node")


@pytest.mark.parametrize("seed", range(3))
def test_a_successor_that_reads_the_memory_of_ranks_and_is_killed_is_dropped_too(
    start: Start, until: Path, seed: int
) -> None:
    survive_a_kill(start, until, seed=seed, blocks="private")


@pytest.mark.every_library
@pytest.mark.soak
@pytest.mark.parametrize("blocks", ["node", "private"])
def test_two_hundred_successors_that_are_killed_are_dropped_or_the_job_ends_clearly(
    start: Start, tmp_path: Path, blocks: str
) -> None:
    seed = soak_seed()
    for number in range(200):
        print(survive_a_kill(start, tmp_path / f"until-{number}", seed=seed + number, blocks=blocks), flush=True)
