"""``python -m benchmarks.ahead``: what a program feels of a change when nearly all of its data is constant."""

from __future__ import annotations

from benchmarks import machine
from benchmarks.figures import Result, Spread, Table, Target
from benchmarks.report import command
from benchmarks.worlds import ElasticJob

METHOD = (
    "A program of one rank iterates (2 ms and an Allreduce) and gets a second one. Its `constant=True` array moves while it "
    "computes; then the rank joins, and only the other array moves. What it feels is the longest of *all* iterations from the "
    "change before to some after this one, less a normal iteration: so the newcomer's connecting and the iterations during the "
    "move count too."
)


def measure(quick: bool) -> Result:
    """Measure what a program feels when constant data moves ahead."""
    turns, large = (1, 40.0) if quick else (7, 1000.0)
    alone, _ = _felt(1.0, 0.0, turns)
    ahead, ahead_ready_s = _felt(1.0, large, turns)
    stalled, _ = _felt(large + 1.0, 0.0, turns)
    rows = (
        ("1 MB that changes", alone, None),
        (f"1 MB that changes, {large:g} MB constant: ahead", ahead, ahead_ready_s),
        (f"{large + 1:g} MB that change", stalled, None),
    )
    table = Table(
        "1 to 2 ranks: the longest iteration around the change, less a normal one",
        ("data", "ms", "s from the order to the end"),
        tuple(rows),
    )
    ratio = ahead.median / alone.median
    targets = (Target(f"{large:g} MB constant + 1 MB: felt, as a multiple of 1 MB alone", ratio, 2.0),)
    limits = ("Dense arrays move ahead; CSR matrices move when ranks join.",)
    return Result("ahead", "Constant data moves ahead", METHOD, machine.describe(), (table,), targets, limits)


def _felt(megabytes: float, constant: float, turns: int) -> tuple[Spread, Spread]:
    """Return what expansions made the program feel, in ms, and how long they took from order to end, in s."""
    arguments = ["--megabytes", megabytes, "--constant-megabytes", constant]
    took = []
    with ElasticJob("elastic", *arguments, ranks=1, options=("--interval=20",)) as job:
        job.wait_for("sample")
        # The first change gets the machine its memory.
        for _ in range(turns + 1):
            for sign in "+-":
                begun = job.wait_for("sample")["time"]
                record = job.change(f"6:node2:{sign}1")
                took.append(record["time"] - begun)
                for _ in range(2):
                    job.wait_for("sample")
        job.stop()
        longest = [1e3 * record["longest_s"] for record in job.finish()]
    return Spread.of(longest[2::2]), Spread.of(took[2::2])


if __name__ == "__main__":
    command(measure)()
