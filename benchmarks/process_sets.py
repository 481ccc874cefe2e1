"""``python -m benchmarks.process_sets``: the stall when several process sets join at once, and what it would be with many."""

from __future__ import annotations

import numpy as np

from benchmarks import machine
from benchmarks.figures import Result, Spread, Table, Target
from benchmarks.report import command
from benchmarks.worlds import ChangeDropped, ElasticJob, Record

METHOD = (
    "k process sets of one rank each, on k virtual nodes of this machine, join a program of one rank in one reconfiguration. "
    "They join each other beforehand, pairwise in a tree, while the program computes; the program then lets in one world, "
    "whatever k is. Where k is large here, dozens of processes share two cores: that, not the method, is most of what is "
    "measured."
)
FITTED = 4
"""Largest k that the projection rests on: beyond, processes mostly wait for a core of this machine."""
COLUMNS = ("start_s", "join_s", "move_s", "part_s", "stall_s")
MANY = (16, 64, 256, 1000)


def measure(quick: bool) -> Result:
    """Measure the stall against the number of process sets that join, and project it."""
    sizes = (1, 2) if quick else (1, 2, 4, 8, 16)
    turns = 1 if quick else 5
    records = {k: _joins(k, turns=turns) for k in sizes}
    measured = Table(
        "k process sets join in one reconfiguration, in ms",
        ("k", "ready", "join", "data move", "regroup", "stall in all", "done"),
        tuple(
            (str(k), *(_spread(records[k], name) for name in COLUMNS), f"{len(records[k])} of {turns}") for k in sizes
        ),
        (
            "Ready: from the order until all ranks wait to join, beside the computation. Join: Accept, Merge, Disconnect.",
            "What is not done was dropped, and the program computed on: the new ranks had not found each other within 120 s.",
        ),
    )
    stalls = {k: _spread(records[k], "stall_s") for k in sizes if k <= FITTED}
    fixed, per_doubling = _fit({k: stall.median for k, stall in stalls.items() if stall is not None})
    projected = Table(
        "Projected stall without data, in ms",
        ("k", "projected"),
        tuple((str(k), fixed + per_doubling * float(np.log2(k + 1))) for k in MANY),
        (
            f"From the figures up to k = {FITTED}, where processes still find a core now and then: {fixed:.1f} ms + "
            f"{per_doubling:.1f} ms for each doubling of the ranks, as collectives take logarithmically many steps. A projection "
            "from two cores, not a measurement.",
        ),
    )
    most = records[sizes[-1]]
    once = max((record["ranks_after"] - record["ranks_before"] for record in most), default=0)
    claim = f"Process sets that join in one reconfiguration, with one stall, of {sizes[-1]}"
    done = sum(map(len, records.values()))
    targets = (
        Target(claim, once, sizes[-1], at_least=True),
        Target("Joins that were done, of all that were tried", done, turns * len(sizes), at_least=True),
    )
    return Result(
        "process_sets", "Many process sets at once", METHOD, machine.describe(), (measured, projected), targets
    )


def _joins(k: int, *, turns: int) -> list[Record]:
    nodes = [f"node{number}" for number in range(2, k + 2)]
    records = []
    with ElasticJob("elastic", "--megabytes", 0.1, ranks=1, options=("--interval=20", "--ready-timeout=120")) as job:
        job.wait_for("sample")
        for _ in range(turns):
            try:
                records.append(job.change("6:" + ":".join(f"{node}:1" for node in nodes)))
            except ChangeDropped:
                continue
            job.wait_for("sample")
            job.change("6:" + ":".join(f"{node}:-1" for node in nodes))
            job.wait_for("sample")
        job.stop()
        job.finish()
    return records


def _spread(records: list[Record], name: str) -> Spread | None:
    return Spread.of(1e3 * record[name] for record in records) if records else None


def _fit(stalls: dict[int, float]) -> tuple[float, float]:
    """Return the fixed part and the part for each doubling of the ranks, by least squares, neither below 0."""
    steps = np.array([[1.0, np.log2(k + 1)] for k in stalls])
    fixed, slope = np.linalg.lstsq(steps, np.array(list(stalls.values())), rcond=None)[0]
    return max(0.0, float(fixed)), max(0.0, float(slope))


if __name__ == "__main__":
    command(measure)()
