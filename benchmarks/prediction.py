"""``python -m benchmarks.prediction``: how near the models come to what the next size of a job really takes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks import machine
from benchmarks.figures import Result, Spread, Table, Target
from benchmarks.original import predict_s
from benchmarks.report import command_of_parts
from benchmarks.worlds import CHECKOUT, ElasticJob, Record
from flexmpi.models.estimate import Refusal
from flexmpi.models.job import JobModel
from flexmpi.models.layout import Layout
from flexmpi.models.observation import Observation
from flexmpi.runtime.job.measurements import IntervalReport
from flexmpi.runtime.prediction.learning import observed

METHOD = (
    "A job goes through the numbers of ranks from the fewest to the most, or from the most to the fewest. At each of them "
    "its iterations are measured for some intervals; then the next number, where it has never been, is predicted, and then "
    "it goes there and is measured. The error is that of the predicted seconds of an iteration, relative to the measured "
    "ones. *Divides*: the time of an iteration divides by ranks. *Original*: the formulas and constants of FlexMPI in C, with "
    "its integer division corrected and computing time in place of counted operations. *Timed* is declared work: ranks "
    "sleep a fixed time for each row, and some in *timed, serial* for none. The solvers have as many ranks as there are cores "
    "at most. An interval in which other processes took more than a part of a core is left out, for the models and for what they "
    "are compared with."
)
NODE = "node1"
LIMITS = (
    "Jacobi: a matrix of dim 2000 has 32 MB, and each of two ranks keeps its half in the cache: an iteration computes up to four "
    "times as fast there, which nothing that one rank measures shows, and none of the three knows.",
    "K-means communicates next to nothing: the models, the original and the division all divide its computing time by ranks, and "
    "noise decides which of them is nearest.",
    "The machine has two cores, on which the job's own supervisor and whatever else runs comes into every figure of the solvers.",
)
GROUPS = ("Jacobi", "conjugate gradients", "k-means", "timed", "timed, serial")
OTHERS = 0.15
"""Cores that other processes may use in an interval that counts, the job's supervisor among them."""

PATIENCE = 2
"""So many times as many intervals as wanted are waited for; then those count in which others took more."""


@dataclass(frozen=True)
class Effort:
    """How long each number of ranks is measured.

    Attributes
    ----------
    interval_s
        The sampling interval.
    warm_up
        The first intervals, which do not count: they are short, and caches are cold in the first one after a change.
    intervals
        Those that do.
    walks
        How often each problem goes up and down.
    """

    interval_s: float
    warm_up: int
    intervals: int
    walks: int


IN_FULL, QUICK = Effort(0.2, 2, 6, walks=2), Effort(0.1, 2, 3, walks=1)


@dataclass(frozen=True)
class Program:
    """A program, and the numbers of ranks it goes through.

    Attributes
    ----------
    group
        The row of the table it counts to.
    path
        Of the script, without its suffix.
    most
        The largest number of ranks.
    """

    group: str
    path: str
    arguments: tuple[object, ...]
    most: int


@dataclass(frozen=True)
class Prediction:
    """One size that was predicted and then measured: seconds of an iteration."""

    program: Program
    present: int
    ranks: int
    measured_s: float
    predicted_s: float
    error_s: float
    divided_s: float
    original_s: float
    disturbed: bool

    def errors(self) -> tuple[float, float, float]:
        """Return the relative errors of the models, of the division and of the original, in %."""
        predictions = (self.predicted_s, self.divided_s, self.original_s)
        predicted, divided, original = (100 * abs(each - self.measured_s) / self.measured_s for each in predictions)
        return predicted, divided, original


def programs(folder: Path, *, quick: bool) -> list[Program]:
    """Return what is measured; k-means' points are put into the folder."""
    examples, cores = CHECKOUT / "examples", max(2, len(os.sched_getaffinity(0)))
    found = []
    for dim in (500,) if quick else (1000, 2000, 4000):
        options = ("--dim", dim, "--itmax", 10**9, "--diff-tol", 1e-300)
        found.append(Program("Jacobi", str(examples / "jacobi"), options, cores))
    for grid in (200,) if quick else (300, 600, 1000):
        options = ("--grid", grid, "--itmax", 10**9, "--tolerance", 1e-300)
        found.append(Program("conjugate gradients", str(examples / "conjugate_gradient"), options, cores))
    for points in (20_000,) if quick else (50_000, 200_000, 400_000):
        data = folder / f"points{points}.npy"
        np.save(data, np.random.default_rng(0).random((points, 8)))
        found.append(
            Program(
                "k-means",
                str(examples / "kmeans"),
                ("--data", str(data), "--clusters", 16, "--itmax", 10**9, "--tolerance", 0),
                cores,
            )
        )
    for rows, row_s, serial_s in (
        [(24, 0.002, 0.0)] if quick else [(24, 0.002, 0.0), (48, 0.001, 0.0), (100, 0.001, 0.0)]
    ):
        found.append(_timed("timed", rows, row_s, serial_s, most=3 if quick else 8))
    for rows, row_s, serial_s in (
        [(24, 0.002, 0.005)] if quick else [(24, 0.002, 0.005), (48, 0.001, 0.01), (100, 0.001, 0.02)]
    ):
        found.append(_timed("timed, serial", rows, row_s, serial_s, most=3 if quick else 8))
    return found


def _timed(group: str, rows: int, row_s: float, serial_s: float, *, most: int) -> Program:
    options = ("--rows", rows, "--row-s", row_s, "--serial-s", serial_s, "--iterations", 10**9)
    return Program(group, "timed", options, most)


def walk(program: Program, sizes: Sequence[int], effort: Effort) -> Iterator[Prediction]:
    """Take a job through these numbers of ranks, and predict each one before it goes there."""
    with tempfile.TemporaryDirectory() as folder:
        corefile = Path(folder) / "one-node"
        corefile.write_text(f"{NODE}:16\n")
        options = (f"--corefile={corefile}", f"--interval={effort.interval_s}s")
        with ElasticJob(program.path, *program.arguments, ranks=sizes[0], options=options) as job:
            model, here = JobModel(), _measured(job, sizes[0], effort)
            for present, ranks in pairwise(sizes):
                for observation in here.all:
                    model = model.after(observation)
                names = [NODE] * ranks
                predicted = model.iteration(Layout.of_ranks(names, names, [1.0] * ranks))
                if isinstance(predicted, Refusal):
                    raise RuntimeError(predicted.why)
                total_s, before = predicted.total_s, here
                job.change(f"6:{NODE}:{ranks - present}")
                here = _measured(job, ranks, effort)
                yield Prediction(
                    program,
                    present,
                    ranks,
                    here.iteration_s,
                    total_s.value,
                    total_s.error,
                    divided_s=before.iteration_s * present / ranks,
                    original_s=predict_s(before.counting, ranks),
                    disturbed=before.disturbed or here.disturbed,
                )
            job.stop()
            job.finish()


@dataclass(frozen=True)
class Measured:
    """The intervals of one number of ranks: those that count, all, and whether others took more than `OTHERS` in them."""

    counting: tuple[Observation, ...]
    warm_up: tuple[Observation, ...]
    disturbed: bool

    @property
    def all(self) -> tuple[Observation, ...]:
        """What the models learn from."""
        return (*self.warm_up, *self.counting)

    @property
    def iteration_s(self) -> float:
        """The typical time of an iteration."""
        return median(each.iteration_s for each in self.counting)


def _measured(job: ElasticJob, ranks: int, effort: Effort) -> Measured:
    """Measure some intervals of the present ranks in which others leave the cores alone."""
    warm_up: list[Observation] = []
    quiet: list[Observation] = []
    every: list[Observation] = []
    before_s = machine.busy_s()
    while len(quiet) < effort.intervals and len(every) < PATIENCE * effort.intervals:
        sample = job.wait_for("sample")
        now_s = machine.busy_s()
        others_s, before_s = now_s - before_s - sum(sample["processor_s"]), now_s
        observation = _observation(sample)
        if observation.layout.ranks != ranks:
            continue
        if len(warm_up) < effort.warm_up:
            warm_up.append(observation)
            continue
        every.append(observation)
        if others_s <= OTHERS * max(sample["real_s"]):
            quiet.append(observation)
    disturbed = len(quiet) < effort.intervals
    return Measured(tuple(every[-effort.intervals :] if disturbed else quiet), tuple(warm_up), disturbed)


def _observation(sample: Record) -> Observation:
    report = IntervalReport(**{name: sample[name] for name in IntervalReport.__annotations__})
    return observed(report, [NODE] * report.size, {NODE: NODE})


def measure(quick: bool, groups: Sequence[str] = GROUPS) -> Result:
    """Measure how near the models come to what the next size of a job takes."""
    predictions: list[Prediction] = []
    effort = QUICK if quick else IN_FULL
    with tempfile.TemporaryDirectory() as folder:
        for program in programs(Path(folder), quick=quick):
            if program.group not in groups:
                continue
            up = list(range(1, program.most + 1))
            for sizes in [up] if quick else [up, up[::-1]] * (effort.walks if program.path != "timed" else 1):
                predictions += walk(program, sizes, effort)
    rows, targets = [], []
    for group in groups:
        here = [each for each in predictions if each.program.group == group]
        disturbed = sum(each.disturbed for each in here)
        ours, divided, original = (Spread.of(errors) for errors in zip(*(each.errors() for each in here), strict=True))
        within = sum(abs(each.predicted_s - each.measured_s) <= 2 * each.error_s for each in here)
        sizes = sorted({size for each in here for size in (each.present, each.ranks)})
        rows.append(
            (
                group,
                f"{sizes[0]} to {sizes[-1]}",
                str(len(here)),
                ours,
                divided,
                original,
                f"{within} of {len(here)}",
                str(disturbed),
            )
        )
        best = min(divided.median, original.median)
        targets.append(Target(f"{group}: median error in %, against the better of the two", ours.median, best))
    table = Table(
        "Error of the predicted time of an iteration on the next number of ranks, in %: median (least to worst)",
        ("program", "ranks", "predictions", "models", "divides", "original", "within 2 standard errors", "disturbed"),
        tuple(rows),
        (
            f"A measurement is the median of {effort.intervals} intervals of {effort.interval_s:g} s. *Disturbed*: others took "
            f"more than {OTHERS:g} cores meanwhile for so long that not enough intervals were without them.",
        ),
    )
    return Result(
        "prediction",
        "Predicting",
        METHOD,
        machine.describe(),
        (table, _details(predictions)),
        tuple(targets),
        LIMITS,
    )


def _details(predictions: Sequence[Prediction]) -> Table:
    """Return every prediction, those of one program, change and problem together."""
    found: dict[tuple[str, str, str], list[Prediction]] = {}
    for each in predictions:
        name, value = map(str, each.program.arguments[:2])
        problem = f"{name.removeprefix('--')} {Path(value).stem}" if "/" not in value else Path(value).stem
        found.setdefault((each.program.group, problem, f"{each.present} to {each.ranks}"), []).append(each)
    rows = tuple(
        (
            group,
            problem,
            change,
            Spread.of(1e3 * each.measured_s for each in here),
            Spread.of(1e3 * each.predicted_s for each in here),
            Spread.of(1e3 * each.divided_s for each in here),
            Spread.of(1e3 * each.original_s for each in here),
        )
        for (group, problem, change), here in found.items()
    )
    return Table(
        "Every prediction, in ms an iteration",
        ("program", "problem", "ranks", "measured", "models", "divides", "original"),
        rows,
    )


if __name__ == "__main__":
    command_of_parts(measure, GROUPS)()
