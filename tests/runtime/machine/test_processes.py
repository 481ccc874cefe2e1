"""Finding processes, ending them, and clearing what they leave; on processes of the test's own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from flexmpi.runtime.machine import processes
from tests.applications import wait_until

Shell = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def shell() -> Iterator[Shell]:
    """Start shell scripts, each in a process group of its own, which is ended with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(script: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True)
        started.append(process)
        return process

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def numbers(process: subprocess.Popen[str], count: int) -> list[int]:
    """Read so many process ids from a script's output."""
    assert process.stdout is not None
    return [int(process.stdout.readline()) for _ in range(count)]


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes() != b""


def run_python(program: str, *arguments: object) -> str:
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60, check=True).stdout


def test_descendants_are_found_parents_first(shell: Shell) -> None:
    process = shell("(sleep 100 & echo $!; wait) & echo $!; wait")
    inner, outer = sorted(numbers(process, 2), reverse=True)
    assert processes.descendants(process.pid) == [outer, inner]
    assert process.pid in processes.descendants(os.getpid())
    assert processes.descendants(inner) == []


def test_processes_are_found_by_their_environment(shell: Shell) -> None:
    process = shell("FLEXMPI_TEST_MARK=17 exec sleep 100")
    wait_until(lambda: processes.having("FLEXMPI_TEST_MARK=17") == [process.pid], what="sleep is found")
    assert processes.having("FLEXMPI_TEST_MARK=1") == []
    assert processes.having("TEST_MARK=17") == []


def test_the_dead_are_not_found_by_their_environment(shell: Shell) -> None:
    process = shell("echo here; exec env FLEXMPI_TEST_MARK=18 sleep 100")
    wait_until(lambda: processes.having("FLEXMPI_TEST_MARK=18") == [process.pid], what="sleep is found")
    processes.kill([process.pid])
    wait_until(
        lambda: processes.having("FLEXMPI_TEST_MARK=18") == [], what="it is dead, though nobody has collected it"
    )


def test_a_process_whose_main_thread_alone_has_ended_lives_in_its_session() -> None:
    program = """
        import ctypes, threading, time
        threading.Thread(target=time.sleep, args=(1000,)).start()
        print(flush=True)
        end_this_thread = 60
        ctypes.CDLL(None).syscall(end_this_thread, 0)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == b"\n"
            state = Path(f"/proc/{process.pid}/stat")
            wait_until(lambda: state.read_text().rpartition(")")[2].split()[0] == "Z", what="its main thread has ended")
            assert processes.in_sessions([process.pid]) == [process.pid]
        finally:
            process.kill()
        wait_until(
            lambda: processes.in_sessions([process.pid]) == [], what="it is dead, though nobody has collected it"
        )


def test_killing_forgives_processes_that_are_gone(shell: Shell) -> None:
    gone = shell("exit")
    gone.wait()
    living = shell("exec sleep 100")
    processes.kill([gone.pid, living.pid])
    assert living.wait(10) == -signal.SIGKILL


def test_stopped_processes_are_told_from_others(shell: Shell) -> None:
    running, stopped = shell("exec sleep 100"), shell("exec sleep 100")
    os.kill(stopped.pid, signal.SIGSTOP)
    wait_until(lambda: processes.stopped([running.pid, stopped.pid]) == [stopped.pid], what="one is stopped")
    assert processes.stopped([2**22 + 1]) == []


def test_a_process_dies_with_the_one_that_started_it(shell: Shell) -> None:
    imports = "import os, time; from flexmpi.runtime.machine import this_process"
    program = f"{imports}; this_process.die_with_parent(); print(os.getpid(), flush=True); time.sleep(100)"
    parent = shell(f'{sys.executable} -c "{program}" & wait')
    (child,) = numbers(parent, 1)
    assert is_alive(child)
    os.kill(parent.pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(child), what="the child is dead")


def test_a_process_whose_parent_is_dead_already_ends_at_once() -> None:
    program = """
        import os
        from flexmpi.runtime.machine import this_process
        if (pid := os.fork()) == 0:
            this_process.die_with(os.getpid())
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """
    assert run_python(program) == "1\n"


def test_orphans_are_adopted_ended_and_collected() -> None:
    program = """
        import os, subprocess, time
        from flexmpi.runtime.machine import processes
        processes.adopt_orphans()
        script = "setsid sh -c 'sleep 100 & sleep 100' & setsid sleep 100 & kill -9 $$"
        subprocess.run(["sh", "-c", script])
        rounds = 0
        while processes.end_descendants():
            rounds += 1
            time.sleep(0.01)
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            print("nothing is left after", "some" if rounds else "no", "rounds")
    """
    assert run_python(program) == "nothing is left after some rounds\n"


def test_what_a_child_that_is_spared_starts_meanwhile_is_not_taken_for_an_orphan() -> None:
    starting = """
        import subprocess
        command = ["setsid", "-w", "true"]
        print(sum(subprocess.run(command, start_new_session=True).returncode for _ in range(150)))
    """
    program = """
        import subprocess, sys
        from flexmpi.runtime.machine import processes
        processes.adopt_orphans()
        living = subprocess.Popen([sys.executable, "-c", sys.argv[1]], start_new_session=True)
        while living.poll() is None:
            processes.end_orphans(spared=[living.pid])
    """
    assert run_python(program, textwrap.dedent(starting)) == "0\n"


def test_children_that_are_waited_for_are_not_collected_by_the_way() -> None:
    program = """
        import subprocess, time
        from flexmpi.runtime.machine import processes
        known, unknown = (subprocess.Popen(["sh", "-c", "exit 3"]) for _ in range(2))
        while any(" Z " not in open(f"/proc/{each.pid}/stat").read() for each in (known, unknown)):
            time.sleep(0.01)
        processes.reap_adopted(started=[known.pid])
        print(known.wait(), unknown.wait())
    """
    # Popen gives 0 for a child that somebody else has collected.
    assert run_python(program) == "3 0\n"


def test_a_folder_is_made_where_a_socket_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = Path(tempfile.mkdtemp(prefix="fx-", dir="/tmp"))
    long = tmp_path / ("x" * 80)
    long.mkdir()
    for wanted, where in ((short, short), (long, Path("/tmp"))):
        monkeypatch.setattr(tempfile, "tempdir", str(wanted))
        made = processes.private_folder()
        assert made.parent == where
        assert made.stat().st_mode & 0o777 == 0o700
        made.rmdir()
    short.rmdir()


@pytest.mark.parametrize(
    ("line", "tracker"),
    [
        (b"python\0-B\0-c\0from multiprocessing.resource_tracker import main;main(35)\0", True),
        (b"python\0-c\0from joblib.externals.loky.backend.resource_tracker import main; main(8, False)\0", True),
        (b"python\0resource_tracker.py\0", False),
        (b"python\0-c\0from multiprocessing.spawn import spawn_main; spawn_main(tracker_fd=5)\0", False),
        (b"", False),
    ],
)
def test_a_resource_tracker_is_told_by_its_command_line(line: bytes, tracker: bool) -> None:
    assert processes.is_tracker(line) == tracker


LIMITS = """
import os, resource, subprocess, sys
from functools import partial
from flexmpi.runtime.machine import processes

before = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (100, before[1]))
processes.allow_many_open_files()
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
tell = "import resource; print(*resource.getrlimit(resource.RLIMIT_NOFILE))"
child = subprocess.run(
    [sys.executable, "-c", tell],
    preexec_fn=partial(processes.become_mpiexec, os.getpid()),
    capture_output=True, text=True, check=True, timeout=30,
)
assert child.stdout.split() == ["100", str(before[1])], child.stdout
"""


def test_a_launcher_may_open_more_files_than_its_ranks_may() -> None:
    subprocess.run([sys.executable, "-c", LIMITS], check=True, timeout=60)
