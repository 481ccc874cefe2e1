"""``python -m benchmarks.node_memory``: what it costs that a node's rows lie in one file which its ranks map."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks import machine
from benchmarks.figures import Cell, Result, Spread, Table, Target
from benchmarks.memory import Peak, used_bytes
from benchmarks.report import command
from benchmarks.worlds import PROGRAMS, ElasticJob, Record, environment

METHOD = (
    "*Speed*: one process computes on half of an array that lies in a file in memory, as a rank maps it by handover, and on the "
    "same half in private memory on huge pages, as ranks have it by joining; the two take turns. *Memory*: a job of 2 ranks on a "
    "node with one array gets a third and loses it. Counted is what its processes have of their own, what the node's files hold, "
    "and page tables, less the same of a job with an array of 1 MB, as a multiple of the array; *during* is the most that was "
    "seen between the order and the next intervals."
)
LIMITS = (
    "Shared memory has pages of 4 kB unless an administrator lets it have huge ones (`advise` in "
    "/sys/kernel/mm/transparent_hugepage/shmem_enabled): what jumps about in memory feels that most.",
    "The first sweep over rows that were just mapped fills the page tables; rows that came by joining have theirs.",
    "By joining a rank that gets rows has memory for them while those who had them still have theirs.",
)
SHARED_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/shmem_enabled")
SMALL_MB = 1.0
CHANGES = ("2 to 3", "3 to 2")
Moments = dict[str, dict[str, list[int]]]
MOMENTS = ("before", "during", "after")
SETTLING_SAMPLES = 8
ONCE = 1.02
"""The data once, and little besides."""


def measure(quick: bool) -> Result:
    """Measure mapped rows against private ones: the speed of computing on them, the first sweep, and memory."""
    megabytes, turns = (16.0, 2) if quick else (1000.0, 9)
    record = _computed(megabytes, turns)
    memory, targets = _memory(16.0 if quick else 1000.0, turns=1 if quick else 3)
    described = {**machine.describe(), "huge pages of shared memory": _shared_huge_pages()}
    tables = (_speed(megabytes, record), _sweeps(record), memory)
    return Result("node_memory", "Rows in a node's file", METHOD, described, tables, targets, LIMITS)


def _computed(megabytes: float, turns: int) -> Record:
    arguments = ["--megabytes", megabytes, "--turns", turns]
    run = [sys.executable, str(PROGRAMS / "node_memory.py"), *map(str, arguments)]
    output = subprocess.run(run, env=environment(), stdout=subprocess.PIPE, text=True, check=True).stdout
    record: Record = json.loads(output)
    return record


def _speed(megabytes: float, record: Record) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name, times in record["times_s"].items():
        shown = [Spread.of(1e3 * each for each in times[kind]) for kind in ("mapped", "private")]
        rows.append((name, *shown, Spread.of_ratios(times["mapped"], times["private"])))
    return Table(
        f"Computing on {megabytes:g} MB",
        ("what", "mapped (ms)", "private (ms)", "mapped / private"),
        tuple(rows),
        (
            "matvec: a matrix of 1024 columns times a vector. gather: an eighth of the elements, from anywhere. scale: in place. "
            "Numpy, one thread.",
        ),
    )


def _sweeps(record: Record) -> Table:
    gigabytes, sweeps = record["block_bytes"] / 1e9, record["sweeps_s"]
    shown = [Spread.of(1e3 * each / gigabytes for each in sweeps[name]) for name in ("first", "later")]
    more = Spread.of(
        1e3 * (first - later) / gigabytes for first, later in zip(sweeps["first"], sweeps["later"], strict=True)
    )
    return Table(
        "The first sweep over rows that a rank has just mapped",
        ("what", "first (ms a GB)", "later (ms a GB)", "more (ms a GB)"),
        (("sum", *shown, more),),
    )


def _memory(megabytes: float, *, turns: int) -> tuple[Table, tuple[Target, ...]]:
    """Measure what a job takes before, during and after changes, without what it takes without data."""
    rows: list[tuple[Cell, ...]] = []
    worst: dict[str, float] = {}
    for way in ("handover", "join"):
        small, large = (_moments(way, size, turns=turns) for size in (SMALL_MB, megabytes))
        for change in CHANGES:
            # The job with little data is the job itself: what it takes at any time is not the data's.
            figures = [
                Spread.of(
                    (with_data - without) / 1e6 / (megabytes - SMALL_MB)
                    for with_data, without in zip(large[change][moment], small[change][moment], strict=True)
                )
                for moment in MOMENTS
            ]
            rows.append((f"{change}, {way}", *figures))
            worst[way] = max(worst.get(way, 0.0), *(each.median for each in figures))
    title = f"Memory that {megabytes:g} MB take, as a multiple"
    claim = f"{megabytes:g} MB by handover: the most they take before, during or after a change, as a multiple"
    return Table(title, ("ranks, way", *MOMENTS), tuple(rows)), (Target(claim, worst["handover"], ONCE),)


def _moments(way: str, megabytes: float, *, turns: int) -> Moments:
    """Return the bytes that a job takes before, during and after each change."""
    found: Moments = {change: {moment: [] for moment in MOMENTS} for change in CHANGES}
    options = ("--interval=20", f"--change={way}")
    with ElasticJob("changing", "--megabytes", megabytes, ranks=2, options=options) as job:
        for _ in range(turns):
            for change, sign in zip(CHANGES, "+-", strict=True):
                _settle(job)
                before = used_bytes(job)
                with Peak(job) as peak:
                    job.change(f"6:node1:{sign}1")
                    _settle(job)
                figures = (before, peak.bytes, used_bytes(job))
                for moment, figure in zip(MOMENTS, figures, strict=True):
                    found[change][moment].append(figure)
        job.stop()
        job.finish()
    return found


def _settle(job: ElasticJob) -> None:
    """Let the old ranks end, and the new ones see all their data once."""
    for _ in range(SETTLING_SAMPLES):
        job.wait_for("sample")


def _shared_huge_pages() -> str:
    try:
        return SHARED_HUGE_PAGES.read_text().partition("[")[2].partition("]")[0]
    except OSError:
        return "none"


if __name__ == "__main__":
    command(measure)()
