"""``python -m benchmarks.startup``: what a new rank costs before it is ready, piece by piece, cold, warm, prepared and parked."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

from benchmarks import machine
from benchmarks.figures import Result, Spread, Table, Target
from benchmarks.report import command
from benchmarks.worlds import ElasticJob, Record, run_world

METHOD = (
    "The pieces: a plain MPI world of one rank starts again and again, and tells when it has got how far. Ready: from the order "
    "to `flexmpi run` until the new ranks wait to join, while one rank computes (two, where one parks); all of it is beside the "
    "computation. The ways take turns. Cold: `mpiexec` starts the ranks, on a node that the job has or on one that has to "
    "get its launcher first. Warm: the node's warm parent forks them (`--warm`). Prepared ranks were started before (command "
    "13), a parked one has left before, alone; both are asleep."
)
ROUNDS = 3


@dataclass(frozen=True)
class Way:
    """A way to come to more ranks."""

    name: str
    ranks: int = 1
    node: str = "node1"
    founders: int = 1
    warm: bool = False
    prepared: bool = False


NEW_NODE, COLD, WARM, COLD_TWO, WARM_TWO, PARKED, PREPARED = WAYS = (
    Way("1 new, cold, on a new node", node="node2"),
    Way("1 new, cold"),
    Way("1 new, warm", warm=True),
    Way("2 new, cold", ranks=2),
    Way("2 new, warm", ranks=2, warm=True),
    Way("1 parked", founders=2),
    Way("1 prepared", prepared=True),
)


def measure(quick: bool) -> Result:
    """Measure what it costs to have ranks ready to join."""
    turns = 2 if quick else 15
    rounds = 1 if quick else ROUNDS
    records: dict[Way, list[Record]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            records[way] += _growths(way, turns // rounds)
    ready = {way: Spread.of(1e3 * record["start_s"] for record in records[way]) for way in WAYS}
    felt = {way: Spread.of(1e3 * record["stall_s"] for record in records[way]) for way in WAYS}
    share = {way: ready[way].median / ready[COLD_TWO if way.ranks == 2 else COLD].median for way in WAYS}
    table = Table(
        "From the order until ready, in ms",
        ("ranks", "ready", "share of as many cold ones", "then felt: the join and an almost empty data move"),
        tuple((way.name, ready[way], share[way], felt[way]) for way in WAYS),
    )
    targets = tuple(
        Target(f"{claim}, as a share of a cold start", share[way], 1 / 3)
        for claim, way in (
            ("A rank that a warm parent forks is ready in", WARM),
            ("Two that it forks are ready in", WARM_TWO),
            ("A parked rank is ready in", PARKED),
            ("A prepared rank is ready in", PREPARED),
        )
    )
    limits = (
        "What is left of a warm start: the fork, MPI_Init, the program from its top to `flex.iterate`, and the messages between.",
        "Why a warm parent may be forked, and how else it was tried, is in [its decision record](decisions/0007-warm-parent.md).",
    )
    return Result("startup", "Starting ranks", METHOD, machine.describe(), (_pieces(turns), table), targets, limits)


def _pieces(turns: int) -> Table:
    records = [run_world(1, "starting", perf_counter())[0] for _ in range(turns)]
    rows = tuple((name, Spread.of(1e3 * record[name] for record in records)) for name in records[0])
    total = Spread.of(1e3 * sum(record.values()) for record in records)
    return Table("A new rank's start, piece by piece, in ms", ("piece", "takes"), (*rows, ("in all", total)))


def _growths(way: Way, turns: int) -> list[Record]:
    """Have a job grow in this way, again and again, and return what it says of each growth."""
    records = []
    options = ("--interval=20", *(["--warm"] if way.warm else []))
    with ElasticJob("elastic", "--megabytes", 0.1, ranks=way.founders, options=options) as job:
        if way.warm:
            job.wait_for("warm_parent", problem=None)
        job.wait_for("sample")
        grow, shrink = (f"6:{way.node}:{sign}{way.ranks}" for sign in "+-")
        if way.founders > 1:
            # One of them leaves alone, and parks.
            job.change(shrink)
            job.wait_for("sample")
        for _ in range(turns):
            if way.prepared:
                job.change(f"13:{way.node}:{way.ranks}")
            records.append(job.change(grow))
            job.wait_for("sample")
            job.change(shrink)
            job.wait_for("sample")
        job.stop()
        job.finish()
    return records


if __name__ == "__main__":
    command(measure)()
