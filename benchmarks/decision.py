"""``python -m benchmarks.decision``: how long it takes to choose sizes for many jobs at once, and how good they are."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

import numpy as np

from benchmarks import machine
from benchmarks.figures import Cell, Result, Spread, Table, Target
from benchmarks.report import command
from flexmpi.optimiser import Choice, Instance, Solution, optimise

METHOD = (
    "Jobs of 16 sizes each share 100,000 nodes under a power cap of 98 % of what the nodes would draw in the mean, so that both "
    "limits count. A job's value is its weight times its speedup by Amdahl's law with a serial part of 0.01 to 10 %; its "
    "sizes are 1 to 16 times its smallest (concave) or, with *steps*, each size is worth the next smaller power of two, as for a "
    "program that cannot use others (not concave). Time is from the jobs' choices to the answer; the gap is to the optimum of "
    "the linear relaxation, which no choice can exceed."
)
POWER_CAP = 0.98
NODES = 100_000
SIZES = 16
EXACT_LIMIT_S = 10.0


@dataclass(frozen=True)
class Measured:
    """One way to solve one kind of instance: seconds and gaps to the linear relaxation in %, one of each for each seed."""

    seconds: list[float]
    gaps: list[float]
    methods: list[str]


def random_jobs(seed: int, *, jobs: int, steps: bool) -> list[tuple[Choice, ...]]:
    """Return the choices of jobs that would all together like half as many nodes again as there are."""
    random = np.random.default_rng(seed)
    offered = []
    for _ in range(jobs):
        smallest = max(1, round(random.uniform(0.5, 1.5) * 1.5 * NODES / jobs / SIZES))
        serial, weight = 10 ** random.uniform(-4, -1), random.choice([1.0, 1.0, 2.0, 4.0])
        idle_w, busy_w = random.uniform(80, 120), random.uniform(100, 300)
        offered.append(
            tuple(
                Choice(
                    (smallest * size,),
                    float(weight / (serial + (1 - serial) / (2 ** int(np.log2(size)) if steps else size))),
                    float(smallest * size * (idle_w + busy_w)),
                )
                for size in range(1, SIZES + 1)
            )
        )
    return offered


def solve(jobs: int, *, steps: bool, seeds: int, limit_s: float) -> Measured:
    """Solve as many random instances."""
    measured = Measured([], [], [])
    for seed in range(seeds):
        offered = random_jobs(seed, jobs=jobs, steps=steps)
        most_w = sum(choices[-1].power_w / choices[-1].nodes[0] for choices in offered) / jobs
        began = perf_counter()
        solution = optimise(Instance(offered, (NODES,), POWER_CAP * NODES * most_w), limit_s=limit_s)
        measured.seconds.append(perf_counter() - began)
        if not isinstance(solution, Solution):
            raise RuntimeError(solution.why)
        measured.gaps.append(100 * max(0.0, solution.relaxed - solution.value) / solution.relaxed)
        measured.methods.append(solution.method)
    return measured


def measure(quick: bool) -> Result:
    """Measure how sizes are chosen for up to 10,000 jobs at once."""
    rows: list[tuple[Cell, ...]] = []
    seeds = 2 if quick else 10
    seconds, gaps = [], []
    for steps in (False, True):
        for jobs in (10, 100, 1000, 10_000):
            fast = solve(jobs, steps=steps, seeds=seeds, limit_s=0.0)
            exact = solve(jobs, steps=steps, seeds=seeds, limit_s=EXACT_LIMIT_S) if jobs <= 1000 else None
            seconds += fast.seconds if jobs == 10_000 else []
            gaps += fast.gaps if jobs == 10_000 else []
            rows.append((f"{jobs:,}", "steps" if steps else "concave", *_cells(fast), *_cells_of_exact(exact)))
    headings = (
        "jobs",
        "values",
        "time (ms)",
        "gap (%)",
        "proven best",
        "with GLPK: time (ms)",
        "gap (%)",
        "proven best",
    )
    notes = (
        f"GLPK, in its own process, is given {EXACT_LIMIT_S:g} s at most, and asked where the search has not proven its answer. "
        "Where an answer is proven, the gap is all the linear relaxation's.",
    )
    targets = (
        Target("10,000 jobs are given sizes within, in s, at the worst", max(seconds), 1.0),
        Target("Gap to the bound for 10,000 jobs, in %, at the worst", max(gaps), 1.0),
    )
    table = Table("Sizes for jobs on 100,000 nodes under a power cap", headings, tuple(rows), notes)
    return Result("decision", "Deciding for many jobs", METHOD, machine.describe(), (table,), targets)


def _cells(measured: Measured) -> tuple[Cell, ...]:
    proven = sum(method == "exact" for method in measured.methods)
    return (
        Spread.of(1000 * second for second in measured.seconds),
        Spread.of(measured.gaps),
        f"{proven} of {len(measured.methods)}",
    )


def _cells_of_exact(measured: Measured | None) -> tuple[Cell, ...]:
    return (None, None, None) if measured is None else _cells(measured)


if __name__ == "__main__":
    command(measure)()
