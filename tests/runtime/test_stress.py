"""Random joins and leaves, one after the other, of a running solver: short in CI, long under the ``soak`` marker."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
import pytest

from tests.applications import PROGRAMS, Application, soak_seed

CORES = {"a": 4, "b": 3, "c": 3}
MOST_RANKS = 8
WARM_UP = 10
"""Events after which the processes hold what they need in any case."""


@dataclass
class Crowd:
    """Chooses random changes; knows how many ranks there are on each node."""

    rng: np.random.Generator
    ranks: dict[str, int] = field(default_factory=lambda: {"a": 2})

    @property
    def size(self) -> int:
        return sum(self.ranks.values())

    def next_command(self, *, keep: str | None) -> str:
        """Let one to three ranks join or leave, or some of both; one rank stays, on the node ``keep`` if there is one."""
        changes: dict[str, int] = {}
        kind = self.rng.choice(["join", "leave", "both"], p=[0.45, 0.45, 0.1])
        wanted = int(self.rng.integers(1, 4))
        for step in range(wanted):
            joins = kind == "join" or (kind == "both" and step == 0) or self.size == 1
            choice = self._free(changes) if joins and self.size < MOST_RANKS else self._removable(changes, keep)
            if not choice:
                break
            node = str(self.rng.choice(choice))
            change = 1 if joins and self.size < MOST_RANKS else -1
            changes[node] = changes.get(node, 0) + change
            self.ranks[node] = self.ranks.get(node, 0) + change
        return "6:" + ":".join(f"{node}:{change}" for node, change in changes.items())

    def _free(self, changes: dict[str, int]) -> list[str]:
        """Return the nodes with a free core, those where somebody leaves excepted."""
        return [node for node, cores in CORES.items() if self.ranks.get(node, 0) < cores and changes.get(node, 0) >= 0]

    def _removable(self, changes: dict[str, int], keep: str | None) -> list[str]:
        """Return a node for each rank that may leave, those where somebody joins excepted."""
        staying = {node: count - (node == keep) for node, count in self.ranks.items() if changes.get(node, 0) <= 0}
        names = [node for node, count in staying.items() for _ in range(count)]
        return names if self.size > 1 else []


@dataclass(frozen=True)
class Usage:
    """What a process holds: open descriptors, and memory of its own and shared, in MB."""

    descriptors: int
    private_mb: float
    shared_mb: float

    @classmethod
    def of(cls, pid: int) -> Usage:
        lines = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        memory_kb = {words[0]: int(words[1]) for words in lines if words[0] in ("RssAnon:", "RssShmem:")}
        descriptors = len(os.listdir(f"/proc/{pid}/fd"))
        return cls(descriptors, memory_kb["RssAnon:"] / 1e3, memory_kb["RssShmem:"] / 1e3)


@dataclass
class Watch:
    """Compares what a process holds after many events with what it held after the first few.

    Ranks that have gone leave half a megabyte of shared memory mapped in those of their node, for MPICH never closes its
    endpoint to them (see ``flexmpi.runtime.launcher.world``); nothing else may grow with the number of events. By handover no
    rank lives through a change; a node's launcher does, which holds the node's rows.
    """

    pid: int
    before: Usage | None = None

    def look(self, event: int, *, ranks_started: int) -> None:
        now = Usage.of(self.pid)
        if event == WARM_UP:
            self.before = now
        if self.before is not None:
            assert now.descriptors <= self.before.descriptors + 6, (event, self.before, now)
            assert now.private_mb <= self.before.private_mb + 8 + event * 0.01, (event, self.before, now)
            assert now.shared_mb <= self.before.shared_mb + 2 + ranks_started * 0.6, (event, self.before, now)


def stress(start: Callable[..., Application], folder: Path, change: str, *, seed: int, events: int) -> list[float]:
    """Put a running solver through random changes and return its stalls in seconds."""
    corefile, stop = folder / "crowd.core", folder / "stop"
    corefile.write_text("".join(f"node-{alias}:{cores}:{alias}:100:1000\n" for alias, cores in CORES.items()))
    program = (PROGRAMS / "solving.py", f"--until={stop}")
    application = start(f"--corefile={corefile}", "--interval=0.02s", "--quiet", "-n2", *program)
    application.wait_for("loop")
    crowd, stalls = Crowd(np.random.default_rng(seed)), []
    lasting = application.founder(0) if change == "join" else application.launcher("node-a")
    supervisor, founder = Watch(application.process.pid), Watch(lasting)
    started, rejoined = set[int](), 0
    for event in range(events):
        # One founder stays for the first half, so that there is a rank that lives long; then it is as the others.
        stays = event < events // 2
        command = crowd.next_command(keep="a" if stays else None)
        done = application.change(command)
        assert (done["outcome"], done["ranks_after"]) == ("done", crowd.size), (seed, event, command, done["why"], done)
        stalls.append(done["stall_s"])
        there = set(application.rank_pids())
        rejoined += max(done["changes"].values()) > 0 and there <= started
        started |= there
        for watch in (supervisor, founder) if stays else (supervisor,):
            watch.look(event, ranks_started=len(started))
    assert rejoined or change == "handover", "some ranks park and join again"
    stop.touch()
    status, output, errors = application.finish()
    assert status == 0 and not errors, errors
    assert re.search(r"^[1-9]\d* systems solved, largest error .*e-\d\d$", output, re.MULTILINE), output
    return stalls


@pytest.mark.both_changes
def test_a_solver_survives_random_changes(start: Callable[..., Application], tmp_path: Path, change: str) -> None:
    stress(start, tmp_path, change, seed=7, events=50 if change == "join" else 15)


@pytest.mark.both_changes
@pytest.mark.soak
def test_a_solver_survives_five_hundred_random_changes(
    start: Callable[..., Application], tmp_path: Path, change: str
) -> None:
    stalls = stress(start, tmp_path, change, seed=soak_seed(), events=500)
    print(f"500 events: stall median {median(stalls) * 1e3:.1f} ms, worst {max(stalls) * 1e3:.1f} ms")
