"""Elastic jobs on a test cluster: submitted as a user would, followed by their event logs, driven by UDP commands."""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from flexmpi.cli.send import ask
from flexmpi.protocol.address import Address
from flexmpi.runtime.machine import shared_files
from tests.applications import PROGRAMS, REPOSITORY, Event, command_line, wait_until
from tests.devcluster.clusters import processes_of

LIMIT_S = 60.0
FLEXMPI = Path(sys.executable).with_name("flexmpi")
STOP = "stop"
COUNTING = ("--interval=0.1s", "--nodes=1-6", PROGRAMS / "counting.py", "--pause=0.005", f"--until={STOP}")
"""What to run: a program that counts, and checks all it holds, until `ElasticJob.end`."""


@dataclass(frozen=True)
class Traces:
    """What an elastic job has on its cluster and this machine, as numbers.

    Attributes
    ----------
    jobs
        In Slurm's job table, not ended: the job's own and its companions.
    processes
        Of the cluster, its daemons among them.
    shared_memory
        The MPI library's files in /dev/shm that are new and that no process uses.
    temporary
        In the job's temporary folder, for which it takes this one.
    """

    jobs: int
    processes: int
    shared_memory: int
    temporary: int


class Surroundings:
    """Compares what is there with what was there when this was made."""

    def __init__(self, cluster: Any, folder: Path) -> None:
        self._cluster = cluster
        self._folder = folder
        self._shared_memory = set(shared_files.left_behind())

    def traces(self) -> Traces:
        """Look at all four."""
        unused = [path for path in shared_files.left_behind() if path not in self._shared_memory]
        return Traces(
            jobs=len(self._cluster.run("squeue", "--noheader", "--format=%i").split()),
            processes=len(processes_of(self._cluster.folder)),
            shared_memory=len(unused),
            temporary=len([path for path in self._folder.iterdir() if path.is_dir() or path.name.startswith("hydra")]),
        )

    def wait_until_back_to(self, earlier: Traces, *, limit_s: float = 20.0) -> None:
        """Wait until there is no more than there was; what has ended takes a moment to go."""

        def back() -> bool:
            return all(now <= then for now, then in zip(astuple(self.traces()), astuple(earlier), strict=True))

        try:
            wait_until(back, what=f"there is no more than {earlier}", limit_s=limit_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; there is {self.traces()}: {processes_of(self._cluster.folder)}") from None


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
    exclusive
        Share no node with another job.
    """

    def __init__(
        self,
        cluster: Any,
        folder: Path,
        *arguments: object,
        options: tuple[str, ...] = ("--nodes=1",),
        exclusive: bool = True,
    ) -> None:
        self.cluster = cluster
        self.folder = folder
        self.log = folder / "events.json"
        command = " ".join(map(str, ["exec", FLEXMPI, "run", f"--json-log={self.log}", "--listen=0", *arguments]))
        script = folder / "job.sh"
        script.write_text(f"#!/bin/sh\nexport TMPDIR={folder}\n{command}\n")
        options = (*(["--exclusive"] if exclusive else []), *options)
        done = cluster.run("sbatch", "--parsable", "--ntasks=1", *options, f"--chdir={folder}", str(script))
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
        """Send a text command and return the reply; from the node it runs on, where that is not this machine."""
        listening = self.event("listening")
        if not self.cluster.has_hosts:
            return ask(Address(listening["host"], listening["port"]), command)
        step = ["srun", f"--jobid={self.job_id}", "--overlap", "--ntasks=1"]
        return str(self.cluster.run(*step, FLEXMPI, "send", f"localhost:{listening['port']}", command)).strip()

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

    def end(self) -> str:
        """Have its program, which counts until then, end; return what it printed, for it ended well and left nothing."""
        (self.folder / STOP).touch()
        assert self.wait_until_over() == "COMPLETED", self.output()
        self.check_clean()
        return self.output()

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
            # One may have ended since: a child that was about to become another program, or with the first one.
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def check_clean(self) -> None:
        """Fail if a process or a file in its temporary folder is left, or its link to an agent had a fault of its own."""
        assert "failed itself" not in self.output(), self.output()
        wait_until(lambda: not self.processes(), what="its processes are gone", limit_s=20)
        wait_until(lambda: not list(self.folder.glob("flexmpi-*/")), what="its folders are gone", limit_s=10)


def idle_nodes(cluster: Any) -> list[str]:
    """Return the nodes that are idle, by Slurm's own word."""
    listed = str(cluster.run("sinfo", "--noheader", "--Node", "--states=idle", "--format=%N")).split()
    return list(dict.fromkeys(listed))  # once, however many partitions they are in


def script(name: str) -> Path:
    """Return a script of this repository."""
    return REPOSITORY / name


def _environment(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return ""
