"""Real applications for tests: `flexmpi run` as a child process, its events as they happen, and what it leaves behind."""

from __future__ import annotations

import json
import os
import queue
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flexmpi
from flexmpi.cli.send import ask
from flexmpi.protocol.address import Address
from flexmpi.runtime.machine import shared_files

REPOSITORY = Path(flexmpi.__file__).parent.parent
PROGRAMS = REPOSITORY / "tests" / "programs"
COREFILES = REPOSITORY / "configuration_files" / "corefiles"
MARK = "TEST_RUN_OF_FLEXMPI"
"""Marks processes through their environment; names that begin with FLEXMPI_ do not reach the ranks."""
LIMIT_S = 60.0

Event = dict[str, Any]


class Application:
    """One running `flexmpi run`.

    Its events come through a pipe, so a test waits for what it needs and never sleeps.
    """

    def __init__(
        self,
        arguments: tuple[object, ...],
        *,
        folder: Path,
        environment: dict[str, str] | None = None,
        python: Path = Path(sys.executable),
        cwd: Path | None = None,
    ) -> None:
        self.mark = f"{os.getpid()}-{time.monotonic_ns()}"
        self.folder = folder
        reading, writing = os.pipe()
        command = [str(python), "-m", "flexmpi.cli", "run", f"--json-log=/dev/fd/{writing}", "--listen=0"]
        self.process = subprocess.Popen(
            [*command, *map(str, arguments)],
            pass_fds=[writing],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "TMPDIR": str(folder), MARK: self.mark, **(environment or {})},
            start_new_session=True,
            cwd=cwd,
        )
        os.close(writing)
        self.seen: list[Event] = []
        self._events: queue.Queue[Event | None] = queue.Queue()
        self._output: dict[str, bytes] = {}
        self._threads = [
            threading.Thread(target=self._read_events, args=(reading,)),
            threading.Thread(target=self._read_output, args=("stdout", self.process.stdout)),
            threading.Thread(target=self._read_output, args=("stderr", self.process.stderr)),
        ]
        for thread in self._threads:
            thread.start()

    def _read_events(self, reading: int) -> None:
        with os.fdopen(reading) as log:
            for line in log:
                self._events.put(json.loads(line))
        self._events.put(None)

    def _read_output(self, name: str, stream: Any) -> None:
        with stream:
            self._output[name] = stream.read()

    def wait_for(self, event: str, *, limit_s: float = LIMIT_S, **wanted: object) -> Event:
        """Wait for the next event of this kind whose fields have these values."""
        end = time.monotonic() + limit_s
        while True:
            try:
                happened = self._events.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no event {event} {wanted} within {limit_s} s; saw {self._latest()}") from None
            if happened is None:
                raise AssertionError(f"ended without an event {event} {wanted}; saw {self._latest()}; {self.finish()}")
            self.seen.append(happened)
            if happened["event"] == event and all(happened[name] == value for name, value in wanted.items()):
                return happened

    def _latest(self) -> list[Event]:
        """Return the last few events, for a message; samples, of which there are many, tell little."""
        return [event for event in self.seen if event["event"] != "sample"][-5:] + self.seen[-1:]

    def address(self) -> Address:
        """Return where it takes commands."""
        known = next((event for event in self.seen if event["event"] == "listening"), None) or self.wait_for(
            "listening"
        )
        return Address(known["host"], known["port"])

    def send(self, command: str) -> str:
        """Send a text command over UDP and return the reply."""
        return ask(self.address(), command)

    def change(self, command: str) -> Event:
        """Send a command that changes ranks, and wait until that is over."""
        reply = self.send(command)
        assert reply.startswith("ok: reconfiguration "), reply
        return self.wait_for("reconfiguration", id=int(reply.split()[2].rstrip(":")))

    def launcher(self, node: str) -> int:
        """Return the process of a node's launcher."""
        return next(pid for pid in self.processes() if b"--node\0" + node.encode() + b"\0" in command_line(pid))

    def finish(self, *, limit_s: float = LIMIT_S) -> tuple[int, str, str]:
        """Wait for its end and return its status and what it printed."""
        status = self.process.wait(limit_s)
        for thread in self._threads:
            thread.join(limit_s)
        return status, self._output["stdout"].decode(), self._output["stderr"].decode()

    def processes(self) -> list[int]:
        """Return the processes of this application that live, the supervisor's included."""
        return [pid for pid in _processes() if _environment_has(pid, f"{MARK}={self.mark}")]

    def rank_pids(self) -> list[int]:
        """Return the processes that run its script."""
        return [
            pid for pid in self.processes() if b"flexmpi.runtime.rank.main" in command_line(pid) and _is_python(pid)
        ]

    def founder(self, local_rank: int) -> int:
        """Return the process of a rank, while there is no process set but the first."""
        return next(pid for pid in self.rank_pids() if _environment_has(pid, f"PMI_RANK={local_rank}"))

    def wait_until_gone(self, *, limit_s: float = LIMIT_S) -> None:
        """Wait until no process of it is left."""
        wait_until(lambda: not self.processes(), what=f"processes of {self.mark} are gone", limit_s=limit_s)

    def close(self) -> None:
        """End it, if it has not ended, and check that no process is left."""
        if self.process.poll() is None:
            self.process.terminate()
        self.finish()
        self.wait_until_gone()


class Leftovers:
    """Sees that a test's applications leave nothing: shared memory that nobody uses, or files in their temporary folder."""

    def __init__(self) -> None:
        # Short, for it holds Unix sockets, whose paths are at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="fx-", dir="/tmp"))
        self._before = set(shared_files.left_behind())

    def check(self) -> None:
        """Fail if anything is left once what is still ending has ended."""

        def left() -> list[str]:
            unused = [path for path in shared_files.left_behind() if path not in self._before]
            return [str(path) for path in (*self.folder.rglob("*"), *unused)]

        try:
            wait_until(lambda: not left(), what="nothing is left behind", limit_s=20.0)
        except AssertionError:
            raise AssertionError(f"left behind: {left()}") from None
        finally:
            shutil.rmtree(self.folder)


def soak_seed() -> int:
    """Return a seed for a long run and print it: ``FLEXMPI_SOAK_SEED``, to repeat an earlier one, or a new one."""
    seed = int(os.environ.get("FLEXMPI_SOAK_SEED") or secrets.randbelow(2**32))
    print(f"\nFLEXMPI_SOAK_SEED={seed}", flush=True)
    return seed


def wait_until(condition: Callable[[], bool], *, what: str, limit_s: float = LIMIT_S) -> None:
    """Look at a condition outside this process until it holds; there is no event to wait on."""
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, f"waited {limit_s} s in vain until {what}"
        threading.Event().wait(0.01)


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _environment_has(pid: int, entry: str) -> bool:
    try:
        return entry.encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _is_python(pid: int) -> bool:
    """Tell a rank from the processes of its ``mpiexec``, whose command lines name it too."""
    return Path(command_line(pid).split(b"\0")[0].decode()).name.startswith("python")
