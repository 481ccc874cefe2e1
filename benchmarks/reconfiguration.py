"""``python -m benchmarks.reconfiguration``: what a program feels of an expansion or a shrink, beside other methods."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import numpy as np

from benchmarks import machine
from benchmarks.figures import Cell, Result, Spread, Table, Target
from benchmarks.report import command_of_parts
from benchmarks.worlds import ElasticJob, run_world

METHOD = (
    "A program with one dense array iterates (2 ms and an Allreduce). What it feels is its longest iteration around a change, "
    "less a normal one. *FlexMPI*: `flexmpi run`, ranks of a new process set. *Spawn*: blocking `MPI_Comm_spawn`, merge and "
    "Alltoallv in the program itself, as FlexMPI's C original and its kind do. *Restart*: the ranks write the array to a file "
    "(which stays in the page cache), end, and as many as wanted start and read it. *Limit*: the bytes that must change ranks at "
    "least, copied by one core between blocks that have their memory."
)
LIMITS = (
    "1 MB: what is left is the join, 3 to 6 ms on a quiet machine: a few messages through supervisor and node "
    "launchers, Accept and Connect, Merge.",
    "200 MB: one process reads another's memory at about two thirds of memcpy's speed (cross-memory attach). So both ends copy, "
    "each a part, which takes about 0.6 of the time where both have a core; UCX's own other way, to have the sender write "
    "(put), is no faster than to have the receiver read. The join adds its few ms. Newcomers get the memory for their rows "
    "before they join; a rank that stays and gets rows gets it meanwhile, and where the system is slow to give it, that makes "
    "the largest figures of 2 to 1 and 4 to 2.",
    "2 to 3 and 2 to 4 ranks: newcomers take their numbers between the others, so no row moves that need not. Rows stay in one "
    "piece on each rank and in the order of the ranks: where the size does not become a multiple, that costs up to a quarter "
    "of all rows above the lower bound (a test compares with it).",
    "2 to 1 ranks of little data: spawned ranks leave by a Split alone; here the supervisor is told of each step.",
)
CHANGES = ((1, 2), (2, 1), (2, 3), (2, 4), (4, 2))
SIZES_MB = {"1-MB": 1.0, "32-MB": 32.0, "200-MB": 200.0, "1000-MB": 1000.0}


def measure(quick: bool, parts: Sequence[str]) -> Result:
    """Measure what a program feels of expansions and shrinks, against MPI_Comm_spawn, restart, and memcpy."""
    sizes = {"1-MB": 1.0} if quick else SIZES_MB
    pairs = ((1, 2),) if quick else ((1, 2), (2, 3), (2, 4))
    tables, targets = [], []
    for name, megabytes in sizes.items():
        if name not in parts:
            tables.append(_table(megabytes, {}))
            continue
        turns = 1 if quick else 5 if megabytes < 1000 else 3
        figures = {}
        for few, many in pairs:
            measured = Side(megabytes, few, many, turns)
            figures[few, many], figures[many, few] = measured.expansions(), measured.shrinks()
        wanted = [change for change in CHANGES if change in figures]
        tables.append(_table(megabytes, {change: figures[change] for change in wanted}))
        targets += _targets(megabytes, figures)
    return Result(
        "reconfiguration", "Reconfiguration", METHOD, machine.describe(), tuple(tables), tuple(targets), LIMITS
    )


class Side:
    """All methods' figures for the changes between two numbers of ranks, measured one method after the other, in s."""

    def __init__(self, megabytes: float, few: int, many: int, turns: int) -> None:
        self._limit = _memcpy_s(megabytes, few, many, turns)
        self._elastic = _elastic_s(megabytes, few, many, turns)
        self._spawning = _spawning_s(megabytes, few, many, turns)
        self._restarting = _restarting_s(megabytes, few, many, max(1, turns // 2))

    def expansions(self) -> dict[str, list[float]]:
        """Return the seconds felt of each expansion, by method."""
        return {name: figures[0] for name, figures in self._by_method().items()}

    def shrinks(self) -> dict[str, list[float]]:
        """Return the seconds felt of each shrink, by method."""
        return {name: figures[1] for name, figures in self._by_method().items()}

    def _by_method(self) -> dict[str, tuple[list[float], list[float]]]:
        methods = {"FlexMPI": self._elastic, "Spawn": self._spawning, "Restart": self._restarting}
        return {**methods, "Limit": (self._limit, self._limit)}


def _elastic_s(megabytes: float, few: int, many: int, turns: int) -> tuple[list[float], list[float]]:
    more = many - few
    with ElasticJob("elastic", "--megabytes", megabytes, ranks=few, options=("--interval=20",)) as job:
        job.wait_for("sample")
        # The first change gets the machine its memory.
        for _ in range(turns + 1):
            for sign in "+-":
                job.change(f"6:node2:{sign}{more}")
                for _ in range(2):
                    job.wait_for("sample")
        job.stop()
        felt = [record["felt_s"] for record in job.finish()]
    return felt[2::2], felt[3::2]


def _spawning_s(megabytes: float, few: int, many: int, turns: int) -> tuple[list[float], list[float]]:
    wanted = ["--megabytes", megabytes, "--start", few, "--more", many - few, "--turns", turns + 1]
    (record,) = run_world(few, "spawning", *wanted)
    return record["expand_s"][1:], record["shrink_s"][1:]


def _restarting_s(megabytes: float, few: int, many: int, turns: int) -> tuple[list[float], list[float]]:
    felt: list[float] = []
    with tempfile.TemporaryDirectory(prefix="flexmpi-benchmark-") as folder:
        wanted: list[object] = ["--megabytes", megabytes, "--file", Path(folder) / "array"]
        (before,) = run_world(few, "restarting", *wanted)
        for turn in range(2 * turns):
            (after,) = run_world(few if turn % 2 else many, "restarting", *wanted, "--pieces", before["pieces"])
            felt.append(after["first"] - before["last"] - before["normal_s"])
            before = after
    return felt[::2], felt[1::2]


def _memcpy_s(megabytes: float, few: int, many: int, turns: int) -> list[float]:
    """Return how long one core takes to copy the bytes that a change must move: what new ranks are to have."""
    moving = (many - few) / many
    source, target = (np.ones(round(megabytes * 1e6 * moving / 8)) for _ in range(2))
    seconds = []
    for _ in range(turns):
        start = perf_counter()
        np.copyto(target, source)
        seconds.append(perf_counter() - start)
    return seconds


def _table(megabytes: float, figures: dict[tuple[int, int], dict[str, list[float]]]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for (before, after), methods in figures.items():
        spreads = {name: Spread.of(1e3 * seconds for seconds in values) for name, values in methods.items()}
        felt = spreads["FlexMPI"].median
        star = " *" if max(before, after) > 2 else ""
        rows.append(
            (
                f"{before} to {after}{star}",
                *(spreads[name] for name in ("FlexMPI", "Spawn", "Restart", "Limit")),
                spreads["Spawn"].median / felt,
                felt / spreads["Limit"].median,
            )
        )
    return Table(
        f"{megabytes:g} MB: what the program feels, in ms",
        ("ranks", "FlexMPI", "Spawn", "Restart", "Limit", "Spawn / FlexMPI", "FlexMPI / Limit"),
        tuple(rows),
        ("\\* more ranks than cores here: ranks wait for each other's time slices, with every method.",),
    )


def _targets(megabytes: float, figures: dict[tuple[int, int], dict[str, list[float]]]) -> list[Target]:
    medians = {name: Spread.of(values).median for name, values in figures[1, 2].items()}
    against_spawn = medians["FlexMPI"] / medians["Spawn"]
    if megabytes == 1:
        return [Target("1 MB, 1 to 2 ranks: FlexMPI / Spawn", against_spawn, 1 / 20)]
    if megabytes == 200:
        return [
            Target("200 MB, 1 to 2 ranks: FlexMPI / Spawn", against_spawn, 1 / 3),
            Target("200 MB, 1 to 2 ranks: FlexMPI / Limit", medians["FlexMPI"] / medians["Limit"], 3.0),
        ]
    return []


if __name__ == "__main__":
    command_of_parts(measure, tuple(SIZES_MB))()
