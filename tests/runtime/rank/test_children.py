"""The children of a rank are the program's own: nothing reaches them of what the runtime and MPI set in the rank.

They are compared with the children of the same program under plain ``python``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flexmpi.protocol.rank_start import SignalState, names_as_text, names_in
from flexmpi.runtime.machine import processes
from tests.applications import MARK, PROGRAMS, Application, wait_until

Start = Callable[..., Application]
RANKS = 2
PARENTING = PROGRAMS / "parenting.py"
STANDARD = ("0", "1", "2")


@pytest.fixture
def hangup() -> Iterator[None]:
    """A user's environment that ignores SIGHUP, as under ``nohup``."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGHUP, before)


def plain(folder: Path) -> dict[str, Any]:
    """Run the program without FlexMPI, and return what it tells."""
    environment = {**os.environ, "TMPDIR": str(folder)}
    program = [sys.executable, str(PARENTING)]
    printed = subprocess.run(
        program, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True, timeout=60
    )
    told: dict[str, Any] = json.loads(printed.stdout)
    return told


def of_ranks(application: Application) -> list[dict[str, Any]]:
    status, output, errors = application.finish()
    assert status == 0, errors
    told = [json.loads(line) for line in output.splitlines()]
    assert sorted(each["rank"] for each in told) == list(range(RANKS))
    return told


def without_mpi(told: dict[str, Any], how: str) -> dict[str, Any]:
    """Return what such a child finds where MPI is not initialised."""
    found: dict[str, Any] = told["before" if how == "fork" else "early"]
    return found


def environment_of(told: dict[str, Any]) -> dict[str, str]:
    """Return a child's environment without what the test sets, and what `flexmpi run` sets for the program."""
    return {name: value for name, value in told["environment"].items() if name not in (MARK, "OMP_NUM_THREADS")}


@pytest.mark.both_changes
def test_children_inherit_nothing_of_the_runtime(start: Start, tmp_path: Path, hangup: None) -> None:
    application = start("-q", f"-n{RANKS}", PARENTING)
    expected = plain(application.folder)
    for told in of_ranks(application):
        for how, child in told["children"].items():
            wanted = expected["children"][how]
            assert environment_of(child) == environment_of(wanted), how
            for what in ("folder", "temporary"):
                assert (how, what, child[what]) == (how, what, wanted[what])
            # As without MPI, which has handlers of its own for signals that the user's environment ignores.
            for what in ("ignored", "blocked"):
                assert (how, what, child[what]) == (how, what, without_mpi(expected, how)[what])
            ranks_own = {target for file, target in told["before"]["files"].items() if file not in STANDARD}
            assert not ranks_own & set(child["files"].values()), how
        # Until MPI is initialised there are its variables, for those who execute MPI programs.
        for what in ("ignored", "blocked"):
            assert told["early"][what] == expected["early"][what]
        assert not [name for name in told["early"]["environment"] if name.startswith("FLEXMPI_")]
        opened = set(told["early"]["files"]) | set(told["children"]["program"]["files"])
        assert opened == set(expected["early"]["files"]), "a program that is executed has no file but the standard ones"


def test_children_end_by_sigterm_and_standard_input_is_empty_in_every_rank(start: Start) -> None:
    for told in of_ranks(start("-q", f"-n{RANKS}", PARENTING)):
        assert set(told["ended"]["programs"]) == set(told["ended"]["forked"]) == {-signal.SIGTERM}
        assert told["input"] == ""
        assert told["before"]["files"]["0"] == "/dev/null"
        assert told["world of a child"] == ["1", "1"], "an MPI program that a rank starts is a world of its own"


def test_without_the_runtime_a_session_leaves_sigterm_alone(tmp_path: Path) -> None:
    assert plain(tmp_path)["handler"] == "<Handlers.SIG_DFL: 0>"


@pytest.mark.both_changes
def test_ranks_themselves_leave_sigterm_to_their_launcher(start: Start) -> None:
    application = start("-q", "-n2", "--interval=0.05s", PROGRAMS / "counting.py", "--iterations=1000000")
    application.wait_for("loop")
    for pid in application.rank_pids():
        os.kill(pid, signal.SIGTERM)
    assert application.change("6:lhost:-1")["ranks_after"] == 1
    assert application.send("5:").startswith("ok: ")
    assert application.finish()[0] == 143


FORKING = """
import os, sys
from mpi4py import MPI
import flexmpi
with flexmpi.session() as flex:
    for iteration in flex.iterate(3):
        child = os.fork()
        if child == 0:
            if iteration == 2:
                raise RuntimeError("of a child")
            sys.exit(iteration)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == (1 if iteration == 2 else iteration)
        assert flex.comm.allreduce(1) == flex.size
    print("right")
"""


@pytest.mark.both_changes
def test_a_forked_child_that_comes_to_its_end_leaves_the_ranks_alone(start: Start, tmp_path: Path) -> None:
    script = tmp_path / "forking.py"
    script.write_text(FORKING)
    status, output, errors = start("-q", "-n2", script).finish()
    assert (status, output) == (0, "right\nright\n"), errors
    assert errors.count("RuntimeError: of a child") == 2 and "flexmpi" not in errors, errors


HOLDING = """
import multiprocessing, os, time
import flexmpi
with flexmpi.session() as flex:
    multiprocessing.Process(target=time.sleep, args=(1000,)).start()
    for iteration in flex.iterate(10**9):
        time.sleep(0.001)
"""


def test_a_lost_rank_is_noticed_while_its_children_live(start: Start, tmp_path: Path) -> None:
    script = tmp_path / "holding.py"
    script.write_text(HOLDING)
    application = start("-q", "-n2", "--interval=0.05s", script)
    application.wait_for("loop")
    wait_until(lambda: len(application.rank_pids()) == 4, what="each rank has a child")
    pids = application.rank_pids()
    rank = next(pid for pid in pids if not set(pids).isdisjoint(processes.descendants(pid)))
    os.kill(rank, signal.SIGKILL)
    status, _, errors = application.finish()
    assert status == 128 + signal.SIGKILL and "was killed by signal 9" in errors, errors
    application.wait_until_gone()


# What launchers tell ranks about it

NUMBERS = st.frozensets(st.integers(1, 64))


@given(NUMBERS, NUMBERS)
def test_signals_are_read_as_they_were_written(ignored: frozenset[int], blocked: frozenset[int]) -> None:
    state = SignalState(ignored, blocked)
    assert SignalState.parse(state.text()) == state


@given(st.frozensets(st.text(st.characters(exclude_characters="=\0"), min_size=1)))
def test_names_are_read_as_they_were_written(names: frozenset[str]) -> None:
    assert names_in(names_as_text(names)) == names
