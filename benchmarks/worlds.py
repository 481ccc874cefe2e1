"""Starts what is measured: plain MPI worlds by ``mpiexec``, and elastic jobs by ``flexmpi run``."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from flexmpi.cli.send import ask
from flexmpi.protocol.address import Address

PROGRAMS = Path(__file__).parent / "programs"
CHECKOUT = Path(__file__).parents[1]
LIMIT_S = 300.0

Record = dict[str, Any]


class ChangeDropped(RuntimeError):
    """A reconfiguration was dropped, and the application went on."""


def environment() -> dict[str, str]:
    """Return the environment of what is measured: one thread a rank, and no job that is around us."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "PMI", "FLEXMPI_"))}
    path = os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH")]))
    return {**kept, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": path}


def mpiexec(ranks: int, program: str, *arguments: object) -> list[str]:
    """Return the command that starts so many ranks of a program."""
    start = [str(Path(sys.executable).parent / "mpiexec"), "-launcher", "fork", "-rmk", "user", "-n", str(ranks)]
    return [*start, sys.executable, str(PROGRAMS / f"{program}.py"), *map(str, arguments)]


def run_world(ranks: int, program: str, *arguments: object) -> list[Record]:
    """Run a plain MPI world and return the JSON lines it prints."""
    command = mpiexec(ranks, program, *arguments)
    finished = subprocess.run(
        command,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )
    return [json.loads(line) for line in finished.stdout.splitlines() if line.startswith("{")]


class ElasticJob:
    """One running ``flexmpi run`` of a program in ``benchmarks/programs``; its ranks print JSON lines.

    Parameters
    ----------
    program, arguments
        What runs.
    ranks
        How many it starts with.
    options
        Of ``flexmpi run``, besides.
    python
        The interpreter, in whose environment the MPI library is.
    """

    def __init__(
        self,
        program: str,
        *arguments: object,
        ranks: int,
        options: tuple[str, ...] = (),
        python: Path = Path(sys.executable),
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="flexmpi-benchmark-")
        reading, writing = os.pipe()
        corefile = Path(self._folder.name) / "nodes"
        corefile.write_text("".join(f"node{number}:16\n" for number in range(1, 18)))
        command = [str(python), "-m", "flexmpi.cli", "run", "--quiet", f"-n{ranks}", "--listen=0"]
        command += [f"--json-log=/dev/fd/{writing}", f"--corefile={corefile}", *options]
        self._process = subprocess.Popen(
            [*command, str(PROGRAMS / f"{program}.py"), *map(str, arguments)],
            pass_fds=[writing],
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            env=environment(),
            text=True,
        )
        os.close(writing)
        self._events: queue.Queue[Record] = queue.Queue()
        self.records: list[Record] = []
        self._threads = [
            threading.Thread(target=self._read_events, args=(reading,)),
            threading.Thread(target=self._read_output),
        ]
        for thread in self._threads:
            thread.start()
        listening = self.wait_for("listening")
        self._address = Address(listening["host"], listening["port"])

    def _read_events(self, reading: int) -> None:
        with os.fdopen(reading) as log:
            for line in log:
                self._events.put(json.loads(line))
        self._events.put({"event": "end of log"})

    def _read_output(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                self.records.append(json.loads(line))

    def wait_for(self, event: str, **wanted: object) -> Record:
        """Return the next event of this kind with these values; RuntimeError if the job ends or is silent."""
        end = time.monotonic() + LIMIT_S
        while True:
            try:
                happened = self._events.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise RuntimeError(f"no event {event!r} within {LIMIT_S:g} s") from None
            if happened["event"] == event and all(happened[name] == value for name, value in wanted.items()):
                return happened
            if happened["event"] == "end of log":
                raise RuntimeError(f"the job ended before an event {event!r}")

    def change(self, command: str) -> Record:
        """Change the job's ranks by a text command; return the reconfiguration when it is done."""
        reply = ask(self._address, command)
        if not reply.startswith("ok: reconfiguration "):
            raise RuntimeError(f"{command}: {reply}")
        record = self.wait_for("reconfiguration", id=int(reply.split()[2].rstrip(":")))
        if record["outcome"] != "done":
            raise ChangeDropped(f"{command}: {record['why']}")
        return record

    def processor_s(self) -> float:
        """Return the processor time that the supervisor and its node launchers have used so far, in s."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        pids = [self._process.pid, *map(int, children)]
        return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in pids) * 1e-9

    def processes(self) -> list[int]:
        """Return the processes of the job: the supervisor and all that descend from it."""
        found, seen = [], [self._process.pid]
        while seen:
            found.append(pid := seen.pop())
            # One may end while it is looked at.
            with suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    seen += map(int, (task / "children").read_text().split())
        return found

    def stop(self) -> None:
        """End the application at its next agreement point."""
        ask(self._address, "5:")

    def finish(self) -> list[Record]:
        """Wait for the end and return the JSON lines that ranks printed."""
        self._process.wait(LIMIT_S)
        for thread in self._threads:
            thread.join(LIMIT_S)
        return self.records

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.terminate()
        self.finish()
        self._folder.cleanup()
