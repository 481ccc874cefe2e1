"""``python -m benchmarks.released_node``: how soon a node is idle in Slurm after the ranks on it have left a job."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from benchmarks import machine
from benchmarks.figures import Result, Spread, Table, Target
from benchmarks.report import command
from benchmarks.worlds import CHECKOUT, LIMIT_S, PROGRAMS, Record, environment
from flexmpi.cli.send import ask
from flexmpi.protocol.address import Address

METHOD = (
    "A real Slurm on this machine (`slurm/devcluster`, 6 nodes), and a job submitted with `sbatch` that grows onto a node which "
    "Slurm chooses and leaves it again, by UDP commands. A rank tells when it leaves, that is when its program has come to its "
    "end; from the last of them on `sinfo` is asked until it calls the node idle. The job's own word is the event "
    "that ends the change: the others compute on without those ranks."
)
DEVCLUSTER = CHECKOUT / "slurm" / "devcluster"
TARGET_S = 0.5

Seen = TypeVar("Seen")


def measure(quick: bool) -> Result:
    """Measure from the leaving of ranks until their node is idle."""
    turns = 2 if quick else 20
    with _cluster() as slurm, _Job(slurm) as job:
        rows = tuple((f"{ranks}", *_released(job, ranks, turns)) for ranks in (1, 4))
        described = machine.describe() | {"Slurm": slurm.ask("sinfo", "--version")}
    headings = ("ranks on the node", "until sinfo calls it idle", "until the change is over by the job's own word")
    table = Table("From the last rank's leaving, in ms", headings, rows)
    targets = tuple(
        Target(f"{ranks} ranks leave: their node is idle after, in ms", idle.maximum, 1e3 * TARGET_S)
        for ranks, idle, _ in rows
    )
    limits = (
        "The processes of the ranks must end first, and MPICH's process manager with them; then Slurm's `slurmd` looks whether "
        "anything of the job is left. A site's epilog script is on top of that.",
    )
    return Result("released_node", "A released node is idle", METHOD, described, (table,), targets, limits)


class _Slurm:
    """A cluster's commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = environment() | {"SLURM_CONF": f"{folder}/slurm.conf"}

    def ask(self, *words: str) -> str:
        """Return what a command prints."""
        finished = subprocess.run(
            words, env=self.environment, cwd=self.folder, stdout=subprocess.PIPE, text=True, timeout=LIMIT_S, check=True
        )
        return finished.stdout.strip()


@contextmanager
def _cluster() -> Iterator[_Slurm]:
    # Short: Unix sockets are in it.
    folder = Path(tempfile.mkdtemp(prefix="fx-bench-", dir="/tmp"))
    devcluster = (sys.executable, str(DEVCLUSTER))
    try:
        subprocess.run([*devcluster, "up", f"--folder={folder}"], stdout=subprocess.DEVNULL, check=True)
        yield _Slurm(folder)
    finally:
        subprocess.run([*devcluster, "down", f"--folder={folder}"], check=True)


class _Job:
    """An elastic job whose ranks tell when they leave."""

    def __init__(self, slurm: _Slurm) -> None:
        self.slurm = slurm
        self._log, self._output = slurm.folder / "events.json", slurm.folder / "output"
        run = [sys.executable, "-m", "flexmpi.cli", "run", "--listen=0", "--nodes=1-6", "-n1", "--interval=0.1s"]
        words = " ".join([*run, f"--json-log={self._log}", str(PROGRAMS / "leaving.py")])
        options = ("--parsable", "--nodes=1", "--exclusive", f"--output={self._output}", f"--wrap=exec {words}")
        self._number = slurm.ask("sbatch", *options)
        listening = _awaited(lambda: self.events("listening"))[0]
        self._address = Address(listening["host"], listening["port"])
        _awaited(lambda: self.events("loop"))

    def events(self, name: str, **wanted: object) -> list[Record]:
        """Return what has happened so far."""
        happened = _records(self._log)
        return [
            record
            for record in happened
            if record["event"] == name and all(record[key] == value for key, value in wanted.items())
        ]

    def order(self, text: str) -> int:
        """Order a change and return its number."""
        reply = ask(self._address, text)
        if not reply.startswith("ok: reconfiguration "):
            raise RuntimeError(f"{text}: {reply}")
        return int(reply.split()[2].rstrip(":"))

    def change(self, text: str) -> Record:
        """Change the ranks and return the change when it is over."""
        return self.over(self.order(text))

    def over(self, number: int) -> Record:
        """Return a change when it is over; RuntimeError if it was dropped."""
        record = _awaited(lambda: self.events("reconfiguration", id=number))[0]
        if record["outcome"] != "done":
            raise RuntimeError(str(record["why"]))
        return record

    def leavings(self) -> list[float]:
        """Return when ranks have left so far, in seconds of the epoch."""
        return [record["left"] for record in _records(self._output)]

    def __enter__(self) -> _Job:
        return self

    def __exit__(self, *_: object) -> None:
        self.slurm.ask("scancel", self._number)


def _released(job: _Job, ranks: int, turns: int) -> tuple[Spread, Spread]:
    """Return how long it took until a node was idle, and until the job said that it had left, in ms."""
    idle_ms, over_ms = [], []
    for _ in range(turns):
        (node,) = job.change(f"6:any:{ranks}")["changes"]
        before = len(job.leavings())
        number = job.order(f"6:{node}:-{ranks}")
        _awaited(lambda: len(job.leavings()) == before + ranks)  # noqa: B023
        left = max(job.leavings()[before:])
        _awaited(lambda: job.slurm.ask("sinfo", "--noheader", f"--nodes={node}", "--format=%T") == "idle")  # noqa: B023
        idle_ms.append(1e3 * (time.time() - left))
        over_ms.append(1e3 * (job.over(number)["time"] - left))
    return Spread.of(idle_ms), Spread.of(over_ms)


def _records(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [
        json.loads(line) for line in path.read_text().splitlines(keepends=True) if line[0] == "{" and line[-1] == "\n"
    ]


def _awaited(look: Callable[[], Seen]) -> Seen:
    end = time.monotonic() + LIMIT_S
    while not (seen := look()):
        if time.monotonic() > end:
            raise RuntimeError(f"waited {LIMIT_S:g} s in vain")
        time.sleep(0.002)
    return seen


if __name__ == "__main__":
    command(measure)()
