"""``python -m benchmarks.startup``: what a new rank costs before it is ready, piece by piece, and what a parked one costs."""

from __future__ import annotations

from time import perf_counter

from benchmarks import machine
from benchmarks.figures import Result, Spread, Table, Target
from benchmarks.report import command
from benchmarks.worlds import ElasticJob, run_world

METHOD = (
    "The pieces: a plain MPI world of one rank starts again and again, and tells when it has got how far. Ready: from the order "
    "to `flexmpi run` until the new ranks wait to join, while two ranks compute; all of it is beside the computation. A parked "
    "rank has left before, alone, and is asleep."
)


def measure(quick: bool) -> Result:
    """Measure what it costs to have ranks ready to join."""
    turns = 2 if quick else 15
    new, parked = _ready_s(turns)
    ready = Table(
        "From the order until ready, in ms",
        ("ranks", "ready", "then felt: the join and an almost empty data move"),
        (("1 new, in a new process set", *new), ("1 parked", *parked)),
    )
    share = parked[0].median / new[0].median
    targets = (Target("A parked rank is ready in, as a share of a new one", share, 1 / 3),)
    limits = (
        "A parent process per node, with all imports done and MPI_Init not called, that forks a rank for each process "
        "mpiexec starts (a bare interpreter, which passes on its environment, its output and PMI's socket) was tried beside "
        "this: MPI_Init works in the forked ranks, and one is through it 36 ms after the order, where a cold start takes 126 "
        "ms (41 and 132 ms for two; of the 36 the bare interpreter takes 15, MPI_Init about 20). It is not built: a forked "
        "rank is no child of mpiexec, so signals, exit statuses and the end of its process would have to be passed on.",
    )
    tables = (_pieces(turns), ready)
    return Result("startup", "Starting ranks", METHOD, machine.describe(), tables, targets, limits)


def _pieces(turns: int) -> Table:
    records = [run_world(1, "starting", perf_counter())[0] for _ in range(turns)]
    rows = tuple((name, Spread.of(1e3 * record[name] for record in records)) for name in records[0])
    total = Spread.of(1e3 * sum(record.values()) for record in records)
    return Table("A new rank's start, piece by piece, in ms", ("piece", "takes"), (*rows, ("in all", total)))


def _ready_s(turns: int) -> tuple[tuple[Spread, Spread], tuple[Spread, Spread]]:
    """Return for new and for parked ranks: ms until ready, and ms felt."""
    figures: list[tuple[Spread, Spread]] = []
    for ranks, node in ((1, "node2"), (2, "node1")):
        records = []
        with ElasticJob("elastic", "--megabytes", 0.1, ranks=ranks, options=("--interval=20",)) as job:
            job.wait_for("sample")
            # Of two ranks on the first node one leaves alone, and parks.
            for sign in ["-", "+"] * turns if ranks == 2 else ["+", "-"] * turns:
                record = job.change(f"6:{node}:{sign}1")
                if sign == "+":
                    records.append(record)
                job.wait_for("sample")
            job.stop()
            job.finish()
        ready = Spread.of(1e3 * record["start_s"] for record in records)
        figures.append((ready, Spread.of(1e3 * record["stall_s"] for record in records)))
    return figures[0], figures[1]


if __name__ == "__main__":
    command(measure)()
