"""However a job ends, it says why once, gives its status on, and leaves no process, shared memory or file behind.

What is left behind is checked by the `start` fixture.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flexmpi.cli.main import main
from flexmpi.cli.send import ask
from flexmpi.errors import LinkError
from tests.applications import COREFILES, PROGRAMS, Application, Leftovers, command_line, wait_until

Start = Callable[..., Application]

TWO_NODES = (f"--corefile={COREFILES / 'demo.core'}", "--nodes=2", "--processes-per-node=1", "--interval=0.05s", "-q")
FOREVER = (*TWO_NODES, PROGRAMS / "counting.py", "--pause=0.001", "--iterations=1000000")
ENDING = ("-q", "-n2", "--interval=0.05s", PROGRAMS / "ending.py")
ERROR = "flexmpi: error: "


def errors_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(ERROR)]


def running(start: Start) -> Application:
    application = start(*FOREVER)
    application.wait_for("loop")
    return application


# Signals to the job


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_whole_process_group_ends_the_job(start: Start, number: signal.Signals) -> None:
    application = running(start)
    os.killpg(application.process.pid, number)
    assert application.finish() == (128 + number, "", f"{ERROR}ended by {number.name}\n")


def test_a_signal_at_any_moment_of_the_start_ends_the_job(start: Start) -> None:
    for tenths, number in enumerate((signal.SIGINT, signal.SIGTERM) * 4):
        application = start(*FOREVER)
        timer = threading.Timer(0.05 + tenths * 0.12, os.killpg, (application.process.pid, number))
        timer.start()
        status, output, errors = application.finish()
        timer.join()
        # Before it can do anything about a signal, it has nothing to clear up either.
        too_early = status in (-number, 1) and not application.seen
        assert too_early or (status, output, errors_of(errors)) == (
            128 + number,
            "",
            [f"{ERROR}ended by {number.name}"],
        )


@pytest.mark.both_changes
def test_a_signal_in_the_middle_of_an_expansion_ends_the_newcomers_too(start: Start, tmp_path: Path) -> None:
    program = (PROGRAMS / "newcomers.py", f"--until={tmp_path / 'never'}", "--newcomers=sleep")
    application = start(*TWO_NODES, *program)
    application.wait_for("loop")
    assert application.send("6:lhost:1").startswith("ok: ")
    wait_until(lambda: len(application.rank_pids()) > 2, what="a newcomer runs")
    application.process.send_signal(signal.SIGTERM)
    status, _, errors = application.finish()
    assert (status, errors_of(errors)) == (143, [f"{ERROR}ended by SIGTERM"])


def test_signals_that_the_job_was_started_to_ignore_are_ignored(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    # As `nohup` does.
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        application = running(start)
    finally:
        signal.signal(signal.SIGHUP, previous)
    os.killpg(application.process.pid, signal.SIGHUP)
    application.wait_for("sample")
    assert application.send("5:").startswith("ok: ")
    assert application.finish()[0] == 143


def test_a_suspended_job_goes_on_where_it_was(start: Start) -> None:
    application = running(start)
    os.killpg(application.process.pid, signal.SIGTSTP)
    wait_until(lambda: stopped(application.process.pid), what="the supervisor is stopped")
    os.killpg(application.process.pid, signal.SIGCONT)
    application.wait_for("sample")
    assert application.send("5:").startswith("ok: ")
    status, _, errors = application.finish()
    assert (status, errors_of(errors)) == (143, [])


def stopped(pid: int) -> bool:
    return " T " in Path(f"/proc/{pid}/stat").read_text()


# Deaths of its parts


def launchers(application: Application) -> list[int]:
    return [pid for pid in application.processes() if b"flexmpi.runtime.launcher" in command_line(pid)]


def of_hydra(application: Application, name: bytes) -> list[int]:
    return [pid for pid in application.processes() if command_line(pid).split(b"\0")[0].endswith(name)]


VICTIMS = {
    "node launcher": (launchers, r"the node launcher of demo-\d is gone"),
    "rank": (
        Application.rank_pids,
        r"rank \d \(node demo-\d, process set \d, pid \d+\) was killed by signal 9 \(SIGKILL\)",
    ),
    "mpiexec": (
        lambda application: of_hydra(application, b"mpiexec"),
        r"mpiexec of process set \d \(node demo-\d(, demo-\d)?\) was killed by signal 9 \(SIGKILL\)",
    ),
    "hydra_pmi_proxy": (
        lambda application: of_hydra(application, b"hydra_pmi_proxy"),
        r"rank \d \(.*\) (was killed by signal \d+ .*|was ended by its mpiexec with status \d+, as after MPI_Abort)",
    ),
}


@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.both_changes
def test_killing_a_part_of_the_job_ends_all_of_it(start: Start, victim: str, change: str) -> None:
    found, message = VICTIMS[victim]
    application = running(start)
    if change == "handover":
        # Of a world that has taken over from another.
        assert application.change("6:node2:1")["outcome"] == "done"
    os.kill(found(application)[-1], signal.SIGKILL)
    status, _, errors = application.finish()
    assert 0 < status < 256
    assert len(errors_of(errors)) == 1, errors
    assert re.fullmatch(ERROR + message, errors_of(errors)[0]), errors
    application.wait_until_gone()


def test_killing_the_supervisor_ends_all_the_rest(start: Start) -> None:
    application = running(start)
    application.process.kill()
    application.wait_until_gone()
    assert application.finish()[0] == -signal.SIGKILL


# How the application itself ends


def test_the_exit_status_is_the_applications(start: Start) -> None:
    expected = {
        "exit:3": (3, None),
        "text:no more paper": (1, None),
        "vanish:7": (7, r"rank 1 \(.*\) ended with status 7 before the application did"),
        "vanish:0": (1, r"rank 1 \(.*\) ended with status 0 before the application did"),
        "signal:SIGKILL": (137, r"rank 1 \(.*\) was killed by signal 9 \(SIGKILL\)"),
        "signal:SIGBUS": (135, r"rank 1 \(.*\) was killed by signal 7 \(SIGBUS\); a full /dev/shm does that, .*"),
        "signal:SIGSEGV": (139, r"rank 1 \(.*\) was killed by signal 11 \(SIGSEGV\)"),
        "abort:5": (
            5,
            r"(rank|mpiexec of process set) \d \(.*\) .*ended .*with status 5(, as after MPI_Abort| before the application did)",
        ),
    }
    applications = {how: start(*ENDING, how) for how in expected}
    for how, application in applications.items():
        status, output, errors = application.finish()
        assert (how, status) == (how, expected[how][0]), errors
        assert {"rank 0 is here", "rank 1 is here"} <= set(output.splitlines()), how
        message = expected[how][1]
        assert len(errors_of(errors)) == (message is not None), errors
        assert message is None or re.fullmatch(ERROR + message, errors_of(errors)[0]), errors
        assert ("no more paper\n" in errors) == how.startswith("text")


def test_a_job_that_has_done_its_work_succeeds_however_its_processes_end(start: Start) -> None:
    applications = [start(*ENDING, "well"), start(*ENDING, "skip", "--all")]
    for application in applications:
        status, output, errors = application.finish()
        assert (status, errors) == (0, "")
        assert output.count("has done its work") == 2


def test_a_second_session_is_refused_and_ranks_know_their_numbers_after_the_first(start: Start, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    opening = "with flexmpi.session() as flex:\n    assert len(list(flex.iterate(3))) == 3\n"
    script.write_text(
        f"import flexmpi\n{opening}print(flex.rank, 'of', flex.size)\nif flex.rank == 1:\n    flexmpi.session()\n"
    )
    status, output, errors = start(*TWO_NODES, "-q", "--nodes=2", "--processes-per-node=1", script).finish()
    assert status == 1
    assert "1 of 2" in output.splitlines()
    assert (
        "UsageError: under flexmpi run a program has one session, with one loop or several; this one has ended"
        in errors
    )


def test_an_exception_is_told_once_with_the_users_own_frames(start: Start, tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("for\n")
    failing = (("before", 1), ("inside", 0), ("inside", 1), ("after", 0))
    applications = {each: start(*ENDING, each[0], *["--all"][: each[1]]) for each in failing}
    applications["import", 1] = start(*ENDING, "import")
    applications["syntax", 1] = start("-q", "-n2", broken)
    last_lines = {
        "import": "ModuleNotFoundError: No module named 'there_is_no_such_module'",
        "syntax": "SyntaxError: invalid syntax",
    }
    for (where, _), application in applications.items():
        status, output, errors = application.finish()
        last = last_lines.get(where, f"RuntimeError: a failure {where} the session")
        assert status == 1
        assert errors.count(last) == 1, errors
        assert errors.count("Traceback (most recent call last):") == (where != "syntax"), errors
        assert re.fullmatch(ERROR + r"rank \d \(.*\) raised an exception", errors.splitlines()[-1]), errors
        assert len(errors_of(errors)) == 1
        assert "flexmpi/runtime/rank/main.py" not in errors
        assert "runpy" not in errors
        assert where in ("import", "syntax") or {"rank 0 is here", "rank 1 is here"} <= set(output.splitlines())


def test_command_5_ends_the_job_at_its_next_agreement_point(start: Start) -> None:
    application = running(start)
    assert application.send("5:").startswith("ok: ")
    status, _, errors = application.finish()
    assert (status, errors) == (143, "")


def test_a_reader_who_has_seen_enough_ends_the_job() -> None:
    leftovers = Leftovers()
    job = ["run", "--interval=0.01s", "-n2", PROGRAMS / "counting.py", "--pause=0.001", "--iterations=1000000"]
    line = f"{shlex.join([sys.executable, '-m', 'flexmpi.cli', *map(str, job)])} | head -1; exit ${{PIPESTATUS[0]}}"
    environment = {**os.environ, "TMPDIR": str(leftovers.folder)}
    ended = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, timeout=60, env=environment, check=False
    )
    assert (ended.returncode, ended.stderr) == (128 + signal.SIGPIPE, "")
    assert len(ended.stdout.splitlines()) == 1
    leftovers.check()


# Ends before it begins


@pytest.fixture
def taken_port() -> Iterator[socket.socket]:
    """A UDP port that somebody listens at."""
    with socket.socket(type=socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken


def test_options_that_make_no_sense_are_one_line_and_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    script, corefile, token, log = (tmp_path / name for name in ("script.py", "bad.core", "token", "log"))
    script.write_text("")
    log.write_text("of an earlier job")
    corefile.write_text("n0:4:a:1:1\nn1:twelve:a:1:1\n")
    token.write_text("word\n")
    token.chmod(0o644)
    wrong: dict[tuple[object, ...], str] = {
        (tmp_path / "nowhere.py",): f"{tmp_path}/nowhere.py: no such script",
        (tmp_path,): f"{tmp_path}: this is no script",
        ("-n100000", script): "can hold, got 100000 (a --corefile describes more nodes or cores than this machine)",
        (f"--json-log={log}", "--nodes=4-3", script): "--nodes must be MIN-MAX with 1 <= MIN <= MAX, got '4-3'",
        ("--nodes=3-2", script): "--nodes must be MIN-MAX with 1 <= MIN <= MAX, got '3-2'",
        ("--nodes=two", script): "--nodes must be MIN or MIN-MAX, got 'two'",
        ("--interval=soon", script): "'soon'",
        ("--listen=here", script): "--listen must be PORT or HOST:PORT with a port of 0 to 65535, got 'here'",
        (f"--corefile={corefile}", script): f"{corefile}, line 2: cores must be a positive integer, got 'twelve'",
        (f"--token-file={token}", script): f"{token}: others can read this token file; expected mode 0600",
        (
            f"--json-log={tmp_path}/no/log",
            script,
        ): f"{tmp_path}/no/log: cannot write the log: No such file or directory",
    }
    for options, message in wrong.items():
        monkeypatch.setattr(sys, "argv", ["flexmpi", "run", *map(str, options)])
        with pytest.raises(SystemExit) as ended:
            main()
        (line,) = capfd.readouterr().err.splitlines()
        assert ended.value.code == 2
        assert line.startswith(ERROR)
        assert message in line
    assert log.read_text() == "of an earlier job"


def test_a_working_directory_that_is_gone_is_one_line_and_status_2(tmp_path: Path) -> None:
    script, folder = tmp_path / "script.py", tmp_path / "folder"
    script.write_text("")
    folder.mkdir()
    command = ["sh", "-c", 'rmdir "$PWD" && exec "$@"', "sh", sys.executable, "-m", "flexmpi.cli", "run", script]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    message = f"{ERROR}the working directory is gone: No such file or directory\n"
    assert (ended.returncode, ended.stderr) == (2, message)


def test_a_port_in_use_is_one_line_and_status_2(tmp_path: Path, taken_port: socket.socket) -> None:
    port = taken_port.getsockname()[1]
    script = tmp_path / "script.py"
    script.write_text("")
    command = [sys.executable, "-m", "flexmpi.cli", "run", f"--listen={port}", script]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
    message = f"{ERROR}cannot listen for commands at UDP 127.0.0.1:{port}: Address already in use\n"
    assert (ended.returncode, ended.stderr) == (2, message)
    assert list(tmp_path.iterdir()) == [script]


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read every script")
def test_a_script_that_cannot_be_read_is_one_line_and_status_2(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("")
    script.chmod(0)
    command = [sys.executable, "-m", "flexmpi.cli", "run", script]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (2, f"{ERROR}{script}: this script cannot be read\n")


FINALISING = """
import sys
from mpi4py import MPI
from mpi4py.MPI import Finalize as finalize_by_another_name
import flexmpi
with flexmpi.session() as flex:
    for _ in flex.iterate(3):
        flex.comm.Barrier()
        if sys.argv[1] == "in the loop":
            MPI.Finalize()
        elif sys.argv[1] == "by another name":
            finalize_by_another_name()
    if sys.argv[1] == "behind the loop":
        MPI.Finalize()
if sys.argv[1] == "behind the session":
    MPI.Finalize()
"""


@pytest.mark.parametrize("where", ["in the loop", "behind the loop", "by another name"])
def test_mpi_finalize_inside_the_session_gives_one_clear_line(start: Start, tmp_path: Path, where: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(FINALISING)
    status, output, errors = start("-q", "-n2", "--interval=1", script, where).finish()
    assert (status, output) == (1, ""), errors
    said = [line for line in errors.splitlines() if "Finalize() was called inside the session" in line]
    assert len(said) == 1 and said[0].startswith("flexmpi.errors.UsageError: "), errors
    assert len(errors_of(errors)) == 1 and "Abort" not in errors, errors


def test_mpi_finalize_behind_the_session_is_the_programs_own(start: Start, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(FINALISING)
    assert start("-q", "-n2", script, "behind the session").finish() == (0, "", "")


def test_a_launchers_failed_task_ends_the_job_with_its_reason(start: Start, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import time, flexmpi\nfrom flexmpi.runtime.communication import link\n"
        "link.current()._socket.sendall(b'this is no JSON\\n')\ntime.sleep(1000)\n"
    )
    status, _, errors = start("-q", script).finish()
    assert status == 1
    (error,) = errors_of(errors)
    assert re.fullmatch(ERROR + r"the node launcher of \S+ failed: JSONDecodeError: .* \(\w+\.py, line \d+\)", error)


@pytest.mark.both_changes
def test_every_command_in_a_jobs_last_moments_gets_an_answer_or_is_refused_at_once(start: Start) -> None:
    application = running(start)
    address, answers = application.address(), []

    def ask_again_and_again() -> None:
        while True:
            answers.append(ask(address, "3:"))

    assert application.send("5:").startswith("ok: ")
    with pytest.raises(LinkError, match="refused"):
        ask_again_and_again()
    assert all(answer.startswith(("ok: ", "error: ")) for answer in answers), answers
    assert application.finish()[0] == 143
