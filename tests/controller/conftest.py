"""A real controller for tests: `flexmpi controller` as a child process, its lines as they come, and what it leaves."""

from __future__ import annotations

import os
import queue
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.applications import LIMIT_S, MARK, PROGRAMS, Leftovers, wait_until

OWN_PROGRAMS = Path(__file__).parent / "programs"


class Conversation:
    """One running controller, spoken with by pipes."""

    def __init__(self, *arguments: object, folder: Path, temporary: Path) -> None:
        self.mark = f"{os.getpid()}-{time.monotonic_ns()}"
        self.folder = folder / "run"
        command = [sys.executable, "-m", "flexmpi.cli", "controller", f"--folder={self.folder}"]
        self.process = subprocess.Popen(
            [*command, f"--first-port={free_port()}", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "TMPDIR": str(temporary), MARK: self.mark},
            cwd=folder,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._arrived: queue.Queue[str | None] = queue.Queue()
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout:
            for line in self.process.stdout:
                self._arrived.put(line.rstrip("\n"))
        self._arrived.put(None)

    def say(self, line: str) -> None:
        """Give a command."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def hang_up(self) -> None:
        """End the commands."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def wait_for(self, pattern: str, *, limit_s: float = LIMIT_S) -> str:
        """Wait for the next line that matches from its beginning."""
        end = time.monotonic() + limit_s
        while True:
            try:
                line = self._arrived.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no line {pattern!r} within {limit_s} s; saw {self.lines[-5:]}") from None
            assert line is not None, f"ended without a line {pattern!r}; saw {self.lines[-5:]}"
            self.lines.append(line)
            if re.match(pattern, line):
                return line

    def finish(self, *, limit_s: float = LIMIT_S) -> int:
        """Wait for its end, take in the lines that are left, and return its status."""
        status = self.process.wait(limit_s)
        while (line := self._arrived.get(timeout=limit_s)) is not None:
            self.lines.append(line)
        return status

    def output(self, number: int) -> str:
        """Return what an application has printed."""
        return (self.folder / "logs" / f"output{number + 1}").read_text()

    def processes(self) -> list[int]:
        """Return the processes that descend from it and live, itself included."""
        entry = f"{MARK}={self.mark}".encode()
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if entry in environment(pid)]

    def wait_until_gone(self) -> None:
        """Wait until no process of it is left."""
        wait_until(lambda: not self.processes(), what="all processes of the controller are gone")

    def close(self) -> None:
        """End it, if it has not ended, and check that no process is left."""
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(LIMIT_S)
        self._reading.join(LIMIT_S)
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.wait_until_gone()


def environment(pid: int) -> list[bytes]:
    """Return the environment a process was started with, nothing if it is gone."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def free_port() -> int:
    """Return a UDP port that nobody uses now; other runs on this machine hardly come upon its neighbours."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.bind(("127.0.0.1", 0))
        return int(end.getsockname()[1]) & ~1


@pytest.fixture
def files(tmp_path: Path) -> Callable[[str, str], Path]:
    """Write a file for a test; ``applications.toml`` with the tests' programs is there already."""
    (tmp_path / "applications.toml").write_text(f"""
        [count]
        script = "{PROGRAMS / "counting.py"}"
        arguments = ["--iterations={{iterations}}", "--pause=0.004"]
        defaults = {{iterations = 1000000}}
        options = ["--interval=0.2s"]
        [phases]
        script = "{OWN_PROGRAMS / "phases.py"}"
        arguments = ["--folder={tmp_path}/stamps", "--name={{procs}}", "--meet={{io}}", "--phases={{iterations}}"]
        defaults = {{io = 2, iterations = 4}}
    """)

    def write(name: str, text: str) -> Path:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


@pytest.fixture
def converse(tmp_path: Path, files: Callable[[str, str], Path]) -> Iterator[Callable[..., Conversation]]:
    """Start controllers; when the test is over they have ended and nothing of them is left."""
    leftovers = Leftovers()
    conversations: list[Conversation] = []

    def start_one(*arguments: object) -> Conversation:
        given = (f"--applications={tmp_path / 'applications.toml'}", *arguments)
        conversations.append(Conversation(*given, folder=tmp_path, temporary=leftovers.folder))
        return conversations[-1]

    yield start_one
    for conversation in conversations:
        conversation.close()
    leftovers.check()
