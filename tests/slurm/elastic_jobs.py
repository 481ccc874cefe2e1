"""Elastic jobs on a test cluster: submitted as a user would, followed by their event logs, driven by UDP commands."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from flexmpi.cli.send import ask
from flexmpi.runtime.listener import Address
from tests.applications import REPOSITORY, Event, command_line, wait_until

LIMIT_S = 60.0
FLEXMPI = Path(sys.executable).with_name("flexmpi")


class ElasticJob:
    """One elastic job on a cluster, submitted with ``sbatch`` and a script that runs ``flexmpi run``.

    Parameters
    ----------
    cluster
        The `cluster` fixture.
    folder
        Where it runs and writes.
    arguments
        Of ``flexmpi run``, script included.
    options
        Of ``sbatch``.
    """

    def __init__(
        self, cluster: Any, folder: Path, *arguments: object, options: tuple[str, ...] = ("--nodes=1",)
    ) -> None:
        self.cluster = cluster
        self.folder = folder
        self.log = folder / "events.json"
        command = " ".join(map(str, ["exec", FLEXMPI, "run", f"--json-log={self.log}", "--listen=0", *arguments]))
        script = folder / "job.sh"
        script.write_text(f"#!/bin/sh\nexport TMPDIR={folder}\n{command}\n")
        done = cluster.run(
            "sbatch", "--parsable", "--ntasks=1", "--exclusive", *options, f"--chdir={folder}", str(script)
        )
        self.job_id = int(done.strip().split(";")[0])
        self._read = 0
        self.seen: list[Event] = []

    def _more(self) -> None:
        """Read the events that were written since."""
        if self.log.exists():
            lines = self.log.read_text().splitlines(keepends=True)
            complete = [line for line in lines if line.endswith("\n")]
            self.seen += [json.loads(line) for line in complete[self._read :]]
            self._read = len(complete)

    def event(self, name: str, *, limit_s: float = LIMIT_S, **wanted: object) -> Event:
        """Wait for an event, or return it if it has happened."""

        def found() -> list[Event]:
            self._more()
            return [
                event
                for event in self.seen
                if event["event"] == name and all(event[field] == value for field, value in wanted.items())
            ]

        try:
            wait_until(lambda: bool(found()), what=f"event {name} {wanted}", limit_s=limit_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; saw {self.seen[-3:]}; output: {self.output()[-2000:]}") from None
        return found()[0]

    def send(self, command: str) -> str:
        """Send a text command and return the reply."""
        listening = self.event("listening")
        return ask(Address(listening["host"], listening["port"]), command)

    def change(self, command: str) -> Event:
        """Send a command that changes ranks and wait until that is over."""
        self.event("loop")
        reply = self.send(command)
        assert reply.startswith("ok: reconfiguration "), reply
        return self.event("reconfiguration", id=int(reply.split()[2].rstrip(":")))

    def companions(self) -> list[int]:
        """Return the Slurm jobs of its added nodes that are pending or running."""
        listed = self.cluster.run(
            "squeue", "--noheader", f"--name=flexmpi-{self.job_id}", "--states=PD,R,CG", "--format=%i"
        )
        return [int(job_id) for job_id in listed.split()]

    def output(self) -> str:
        """Return what it has printed."""
        printed = self.folder / f"slurm-{self.job_id}.out"
        return printed.read_text(errors="replace") if printed.exists() else ""

    def state(self) -> str:
        """Return Slurm's state of the job."""
        return str(
            self.cluster.run("squeue", "--noheader", f"--jobs={self.job_id}", "--states=all", "--format=%T")
        ).strip()

    def wait_until_over(self, *, limit_s: float = LIMIT_S) -> str:
        """Wait until Slurm has no running job of it, companions included, and return the state it ended in."""
        over = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
        wait_until(lambda: self.state() in over, what=f"job {self.job_id} is over", limit_s=limit_s)
        wait_until(lambda: not self.companions(), what=f"companions of {self.job_id} are over", limit_s=limit_s)
        return self.state()

    def processes(self) -> list[int]:
        """Return the live processes of it that FlexMPI or its script runs in."""
        return [
            pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if str(self.folder) in _environment(pid)
        ]

    def pid_of(self, *words: str) -> list[int]:
        """Return its processes whose command line holds these words."""
        return [pid for pid in self.processes() if all(word.encode() in command_line(pid) for word in words)]

    def kill(self, *words: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to its processes whose command line holds these words."""
        pids = self.pid_of(*words)
        assert pids, f"no process of {words}"
        for pid in pids:
            os.kill(pid, number)

    def check_clean(self) -> None:
        """Fail if a process or a file in its temporary folder is left."""
        wait_until(lambda: not self.processes(), what="its processes are gone", limit_s=20)
        wait_until(lambda: not list(self.folder.glob("flexmpi-*/")), what="its folders are gone", limit_s=10)


def idle_nodes(cluster: Any) -> list[str]:
    """Return the nodes that are idle, by Slurm's own word."""
    return str(cluster.run("sinfo", "--noheader", "--Node", "--states=idle", "--format=%N")).split()


def seconds_until_idle(cluster: Any, node: str, *, limit_s: float = 10.0) -> float:
    """Wait until a node is idle and return how long that took."""
    start = time.monotonic()
    wait_until(lambda: node in idle_nodes(cluster), what=f"{node} is idle", limit_s=limit_s)
    return time.monotonic() - start


def script(name: str) -> Path:
    """Return a script of this repository."""
    return REPOSITORY / name


def _environment(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return ""
