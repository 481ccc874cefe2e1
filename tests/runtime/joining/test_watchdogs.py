"""Newcomers that die, hang or fail at any moment: the application goes on, or ends with one clear error; it never hangs."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI

from flexmpi.runtime.joining import membership
from flexmpi.runtime.machine.processes import descendants
from tests.applications import COREFILES, PROGRAMS, Application, command_line, soak_seed, wait_until

Start = Callable[..., Application]

TWO_NODES = (f"--corefile={COREFILES / 'demo.core'}", "--interval=0.02s", "-q")
ERROR = "flexmpi: error: "
KILLED = r"a new rank \(node demo-2, process set \d+, pid \d+\) was killed by signal 9 \(SIGKILL\)"
MOMENTS_MS = range(1, 21)


@pytest.fixture
def until(tmp_path: Path) -> Path:
    """The file that ends programs."""
    return tmp_path / "until"


def with_newcomers(start: Start, until: Path, newcomers: str, *options: str) -> Application:
    """Start a program on one rank whose newcomers misbehave."""
    program = (PROGRAMS / "newcomers.py", f"--until={until}", f"--newcomers={newcomers}")
    application = start(*TWO_NODES, "-n1", *options, *program)
    application.wait_for("loop")
    return application


def ends_right(application: Application, until: Path, *, ranks: int) -> str:
    """End the program, check that it has noticed nothing, and return what was printed on stderr."""
    wait_until(lambda: not zombies(application), what="the dead are collected")
    until.touch()
    status, output, errors = application.finish()
    assert (status, output.splitlines()[-1]) == (0, f"right on {ranks} ranks"), errors
    assert ERROR not in errors
    return errors


def zombies(application: Application) -> list[int]:
    def is_zombie(pid: int) -> bool:
        try:
            return ") Z " in Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return False

    below = descendants(application.process.pid)
    launchers = [pid for pid in application.processes() if b"flexmpi.runtime.launcher" in command_line(pid)]
    return [pid for pid in {*below, *(each for pid in launchers for each in descendants(pid))} if is_zombie(pid)]


def on_second_node(application: Application, name: bytes) -> list[int]:
    """Return the processes of the second node whose program's name ends so."""

    def launchers() -> list[int]:
        return [pid for pid in application.processes() if b"--node\0demo-2" in command_line(pid)]

    wait_until(lambda: len(launchers()) == 1, what="the launcher of newcomers that were dropped has ended")
    (launcher,) = launchers()
    if name == b"launcher":
        return [launcher]
    return [pid for pid in descendants(launcher) if command_line(pid).split(b"\0")[0].endswith(name)]


# Newcomers that never get as far as joining


def test_newcomers_that_end_before_they_are_ready_are_dropped_and_others_join_later(start: Start, until: Path) -> None:
    reasons = {
        "raise": r"a new rank \(node demo-2, .*\) raised ValueError: this newcomer has no input before it joined",
        "exit": r"a new rank \(node demo-2, .*\) ended with status 3 before it joined",
        "end": r"a new rank \(node demo-2, .*\) ended before it joined",
    }
    application = with_newcomers(start, until, ",".join(reasons))
    told = []
    for number, reason in enumerate(reasons.values(), 1):
        dropped = application.change("6:node2:2")
        assert (dropped["outcome"], dropped["ranks_before"]) == ("failed", 1)
        assert re.fullmatch(reason, dropped["why"])
        told.append(f"flexmpi: reconfiguration {number} was dropped: {dropped['why']}")
        wait_until(lambda: len(application.rank_pids()) == 1, what="the new ranks are gone")
    assert application.change("6:node2:2")["ranks_after"] == 3
    assert ends_right(application, until, ranks=3).splitlines() == told


def test_newcomers_that_are_not_ready_in_time_are_dropped_with_their_process_set(start: Start, until: Path) -> None:
    application = with_newcomers(start, until, "sleep", "--ready-timeout=1")
    dropped = application.change("6:node2:2")
    assert dropped["outcome"] == "failed"
    assert dropped["why"] == "2 of 2 new ranks were not ready within 1 s (they have not reached flex.iterate)"
    wait_until(lambda: len(application.rank_pids()) == 1, what="the new ranks are gone")
    ends_right(application, until, ranks=1)


def test_killing_what_belongs_to_newcomers_drops_them_and_others_join_later(start: Start, until: Path) -> None:
    victims = {
        "python": r".* \(node demo-2.*\) was killed by signal 9 \(SIGKILL\) before it joined",
        "mpiexec": r"mpiexec of process set 2 \(node demo-2\) was killed by signal 9 \(SIGKILL\) before it joined",
        "hydra_pmi_proxy": r"(a new rank|mpiexec of process set \d) \(node demo-2.*\) .* before it joined",
        "launcher": "the node launcher of demo-2 is gone before it joined",
    }
    application = with_newcomers(start, until, ",".join(["sleep"] * len(victims)))
    for victim, reason in victims.items():
        assert application.send("6:node2:1").startswith("ok: ")
        wait_until(lambda: len(application.rank_pids()) == 2, what="a newcomer runs")
        os.kill(on_second_node(application, victim.encode())[0], signal.SIGKILL)
        dropped = application.wait_for("reconfiguration")
        assert dropped["outcome"] == "failed"
        assert re.fullmatch(reason, dropped["why"])
        wait_until(lambda: len(application.rank_pids()) == 1, what="the newcomer is gone")
    assert application.change("6:node2:1")["ranks_after"] == 2
    ends_right(application, until, ranks=2)


def test_a_node_launcher_that_cannot_start_drops_the_expansion_at_once(start: Start, until: Path) -> None:
    application = with_newcomers(start, until, "")
    (folder,) = application.folder.glob("flexmpi-*")
    folder.rename(folder.with_name("away"))
    dropped = application.change("6:node2:1")
    folder.with_name("away").rename(folder)
    assert dropped["outcome"] == "failed"
    assert "demo-2 was not granted: its launcher ended with status 1" in dropped["why"]
    assert application.change("6:node2:1")["ranks_after"] == 2
    ends_right(application, until, ranks=2)


# Newcomers that die or stop while they join


def test_newcomers_killed_at_any_moment_of_their_join_never_leave_a_hang(start: Start, tmp_path: Path) -> None:
    """SIGKILL at 20 moments after Connect has begun."""
    outcomes = outlive_all(start, tmp_path, MOMENTS_MS)
    assert len(outcomes) == len(MOMENTS_MS), outcomes


@pytest.mark.soak
def test_newcomers_killed_at_five_hundred_moments_of_their_join_never_leave_a_hang(
    start: Start, tmp_path: Path
) -> None:
    moments_ms = np.random.default_rng(soak_seed()).uniform(0, 20, size=500).round(3).tolist()
    outcomes = outlive_all(start, tmp_path, moments_ms)
    assert len(outcomes) == len(moments_ms), outcomes
    kinds = Counter(outcome.partition(": ")[2] for outcome in outcomes)
    print(", ".join(f"{kind}: {count}" for kind, count in kinds.most_common()))


def outlive_all(start: Start, tmp_path: Path, moments_ms: Sequence[float]) -> list[str]:
    """Have newcomers killed at all these moments, in five applications at a time, each for as long as it survives."""
    workers = 5

    def survive(worker: int) -> list[str]:
        moments, outcomes = list(moments_ms[worker::workers]), []
        while moments:
            outcomes += outlive(start, tmp_path / f"until-{worker}-{len(moments)}", moments)
        return outcomes

    with ThreadPoolExecutor(workers) as pool:
        return [outcome for found in pool.map(survive, range(workers)) for outcome in found]


def outlive(start: Start, until: Path, moments_ms: list[float]) -> list[str]:
    """Have newcomers of one application killed at these moments, one after the other, until the application ends.

    Takes the moments that are done out of the list, and returns what became of each.
    """
    application = with_newcomers(start, until, ",".join(f"kill:{moment}" for moment in moments_ms))
    outcomes = []
    while moments_ms:
        moment = moments_ms.pop(0)
        outcome = outcome_of_kill(application)
        outcomes.append(f"{moment} ms: {outcome}")
        if outcome != "dropped":
            status, _, errors = application.finish()
            told = [line for line in errors.splitlines() if line.startswith(ERROR)]
            assert status not in (0, None)
            assert len(told) == 1, errors
            assert "Traceback" not in errors
            assert re.search(r"rank .*was killed by signal 9 \(SIGKILL\)", told[0]), told
            return outcomes
    ends_right(application, until, ranks=1)
    return outcomes


def outcome_of_kill(application: Application) -> str:
    """Let a newcomer come, to be killed, and return "dropped", or how the application ended."""
    event = application.change("6:node2:1")
    if event["outcome"] == "failed":
        return "dropped" if re.fullmatch(f"{KILLED} before it joined", event["why"]) else "ended while it joined"
    application.wait_for("ended")
    return "ended as a member had died"


def test_a_newcomer_that_is_stopped_before_it_connects_is_dropped(start: Start, until: Path) -> None:
    application = with_newcomers(start, until, "stop:0")
    dropped = application.change("6:node2:1")
    assert dropped["outcome"] == "failed"
    assert re.match(r"no new rank connected within 3 s", dropped["why"])
    assert "\n" not in dropped["why"]
    wait_until(lambda: len(application.rank_pids()) == 1, what="the newcomer is gone")
    ends_right(application, until, ranks=1)


def test_a_join_that_hangs_ends_the_job_and_names_the_rank_that_is_stopped(start: Start, until: Path) -> None:
    application = with_newcomers(start, until, "freeze", "--stall-timeout=2")
    application.change("6:node2:1")
    status, _, errors = application.finish()
    assert status == 1
    (told,) = [line for line in errors.splitlines() if line.startswith(ERROR)]
    assert re.fullmatch(
        rf"{ERROR}reconfiguration 1 hangs for 2 s at a new rank \(node demo-2, process set 1, pid \d+\); "
        "likely cause: stopped by a signal or a debugger",
        told,
    )


def test_a_leave_that_hangs_ends_the_job_and_says_what_to_look_for(start: Start, tmp_path: Path) -> None:
    rankfile = tmp_path / "ranks"
    rankfile.write_text("demo-1:1\ndemo-2:1\n")
    options = ("--nodes=1-2", f"--rankfile={rankfile}", "--stall-timeout=2")
    application = start(*TWO_NODES, *options, PROGRAMS / "unmatched.py")
    application.wait_for("sample")
    application.change("6:node2:-1")
    status, _, errors = application.finish()
    assert status == 1
    (told,) = [line for line in errors.splitlines() if line.startswith(ERROR)]
    assert re.fullmatch(
        rf"{ERROR}reconfiguration 1 hangs for 2 s at rank 0 \(node demo-1, .*\); likely cause: MPI_Comm_disconnect waits "
        r"for a message .*: complete every Isend and Irecv before the iteration ends",
        told,
    )


# MPI without dynamic processes


def test_an_mpi_whose_ports_cannot_be_opened_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The failure is a fake: the MPI at hand opens ports."""

    def refuse(*arguments: object) -> str:
        raise MPI.Exception(MPI.ERR_UNSUPPORTED_OPERATION)

    assert membership.obstacle() is None
    monkeypatch.setattr(MPI, "Open_port", refuse)
    obstacle = membership.obstacle()
    assert obstacle is not None
    assert re.fullmatch(
        r"MPICH [\d.]+ has no dynamic processes \(MPI_Open_port: [^\n]+\); "
        r"change ranks by --change handover, or install one that can, for example: pip install mpich",
        obstacle,
    )


VENDORS = {"mpich": "MPICH", "impi": "Intel MPI", "openmpi": "Open MPI"}


@pytest.mark.every_library
def test_a_program_of_fixed_size_runs_on_an_mpi_whose_worlds_cannot_join(start: Start, library: str) -> None:
    application = start(*TWO_NODES, "-n2", PROGRAMS / "fixed_mpi.py")
    application.wait_for("loop")
    refusal = application.send("6:lhost:1")
    assert refusal.startswith(f"error: this application has a fixed size: {VENDORS[library]} ")
    assert refusal.endswith(
        "; change ranks by --change handover, or install one that can, for example: pip install mpich"
    )
    assert application.finish() == (0, "counted on 2 ranks\n", "")


def test_ranks_that_are_no_world_together_are_refused(start: Start, tmp_path: Path) -> None:
    """As where ``mpiexec`` is of another MPI than the library: each rank takes itself for a world of its own."""
    script = tmp_path / "script.py"
    alone = (
        "import os\nfor name in [each for each in os.environ if each.startswith('PMI')]:\n    del os.environ[name]\n"
    )
    script.write_text(f"{alone}import flexmpi\nwith flexmpi.session() as flex:\n    list(flex.iterate(10**9))\n")
    status, output, errors = start(*TWO_NODES, "-n2", script).finish()
    assert (status, output) == (1, "")
    expected = (
        r"rank \d \(.*\) is one of 2 ranks, but its MPI world has 1: this mpiexec is not that of the MPI library .*\n"
    )
    assert re.fullmatch(ERROR + expected, errors)


def test_an_mpi_without_dynamic_processes_cannot_start_on_two_nodes(start: Start) -> None:
    application = start(*TWO_NODES, "--nodes=2", "--processes-per-node=1", PROGRAMS / "fixed_mpi.py")
    status, output, errors = application.finish()
    assert (status, output) == (1, "")
    assert re.fullmatch(
        rf"{ERROR}the ranks of several nodes have to join each other: MPICH .* has no dynamic processes .*\n", errors
    )


@pytest.fixture
def system_mpich(tmp_path: Path) -> dict[str, str]:
    """The environment in which mpi4py uses the system's MPICH; Debian's has no dynamic processes."""
    library = next(iter(Path("/usr/lib").glob("*/libmpich.so.12")), None)
    if library is None:
        pytest.skip("no system MPICH: apt-get install libmpich12")
    (tmp_path / "libmpi.so.12").symlink_to(library)
    environment = {"LD_PRELOAD": str(library), "LD_LIBRARY_PATH": str(tmp_path)}
    probe = "from flexmpi.runtime.joining import membership; raise SystemExit(membership.obstacle() is None)"
    can_join = subprocess.run(
        [sys.executable, "-c", probe], env={**os.environ, **environment}, capture_output=True, timeout=60, check=False
    )
    if can_join.returncode:
        pytest.skip("the system's MPICH has dynamic processes, or mpi4py does not run on it")
    return environment


def test_debians_mpich_is_refused_by_what_it_says_itself(start: Start, system_mpich: dict[str, str]) -> None:
    two_nodes = (*TWO_NODES, "--nodes=2", "--processes-per-node=1", PROGRAMS / "counting.py")
    refused = start(*two_nodes, environment=system_mpich)
    fixed = start(*TWO_NODES, "-n2", PROGRAMS / "counting.py", "--iterations=100", environment=system_mpich)
    status, _, errors = refused.finish()
    assert status == 1
    assert re.fullmatch(rf"{ERROR}the ranks of several nodes .* MPICH 4[\d.]+ has no dynamic processes .*\n", errors)
    assert fixed.finish() == (0, "counted 100 iterations on 2 ranks\n", "")
