"""``python -m benchmarks.overhead``: what FlexMPI costs a program that does not change its size."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks import machine
from benchmarks.figures import Result, Spread, Table, Target
from benchmarks.report import command_of_parts
from benchmarks.worlds import ElasticJob, Record
from flexmpi.runtime.job.interval import DEFAULT_INTERVAL_S

METHOD = (
    "The same loop runs in turns with `range(n)` and with `flex.iterate(n)` in one program; so do the same calls on "
    "`MPI.COMM_WORLD` and on `flex.comm`. What FlexMPI adds is the difference of neighbouring turns."
)
LIMITS = (
    "An agreement point is a Gather, a broadcast and a message to the node launcher; what the others compute is mostly the "
    "supervisor's reading, printing and logging of the samples. Where other work shares the cores, both wait for a time slice: "
    "with two ranks on two cores that is what the largest figures show.",
    "A timed call costs two readings of the clock and Python's passing on of the arguments, one by one: as any arguments, "
    "by name, that cost twice as much. In the first iteration of a sampling interval calls are counted, too, by class and bytes, "
    "which costs one to two us a call more.",
)
NEVER = "--interval=1000000000"
"""No agreement point but the one at the loop's begin."""


def between_agreements(quick: bool) -> tuple[Table, float]:
    """Measure iterations with no agreement point between them; return the table and the cost of one in us."""
    lengths = [0.0, 10.0] if quick else [0.0, 10.0, 100.0]
    records = _run(lengths, turn_s=0.05 if quick else 0.5, turns=3 if quick else 15, ranks=1, options=(NEVER,))
    rows, costs = [], []
    for record in records:
        costs.append(_overhead_us(record))
        rows.append((_length(record), Spread.of(1e6 * s for s in record["plain_s"]), costs[-1]))
    table = Table(
        "An iteration between agreement points, 1 rank",
        ("iteration", "without (us)", "FlexMPI adds (us)"),
        tuple(rows),
        ("From 10 us on the difference drowns in the loop's own noise; the empty loop shows it.",),
    )
    return table, costs[0].median


def with_agreements(quick: bool) -> tuple[Table, float]:
    """Measure loops at the default interval; return the table and the largest overhead from 1 ms on, in percent."""
    # The short form has shorter intervals, and says so.
    interval_s = 0.1 if quick else DEFAULT_INTERVAL_S
    rows, overheads = [], []
    for ranks in (1, 2):
        for length_us in [1000.0] if quick else [10.0, 100.0, 1000.0, 10_000.0, 100_000.0]:
            every = round(interval_s / (length_us * 1e-6))
            options = (f"--interval={every}",)
            loop = _run([length_us], turn_s=interval_s, turns=2 if quick else 15, ranks=ranks, options=options)
            agreement, processor_s = _agreements(length_us, ranks=ranks, every=every, agreements=3 if quick else 15)
            pairs = zip(loop[0]["plain_s"], loop[0]["elastic_s"], strict=True)
            whole = Spread.of(100 * (elastic / plain - 1) for plain, elastic in pairs)
            percent = 100 * (agreement.median * 1e-6 + processor_s) / interval_s
            rows.append((_length(loop[0]), str(ranks), agreement, 1e6 * processor_s, percent, whole))
            if length_us >= 1000:
                overheads.append(percent)
    table = Table(
        f"Agreement points, one every {interval_s:g} s{'' if quick else ' (the default)'}",
        (
            "iteration",
            "ranks",
            "the program waits (us)",
            "others compute (us)",
            "both, of the interval (%)",
            "whole loop (%)",
        ),
        tuple(rows),
        (
            "The program waits: from the end of an iteration to the begin of the next. Others compute: processor time of "
            "the supervisor and the node launcher for each agreement point. Whole loop: how much longer it takes, turn by turn; "
            "it is the machine's noise mostly, and negative where that is larger than the overhead.",
        ),
    )
    return table, max(overheads)


def _agreements(length_us: float, *, ranks: int, every: int, agreements: int) -> tuple[Spread, float]:
    """Return what the program waits at an agreement point, in us, and the processor time of FlexMPI's own processes, in s."""
    arguments = ["--turn-s", 1, "--turns", agreements, "--every", every, "--lengths-us", length_us]
    with ElasticJob("overhead", *arguments, ranks=ranks, options=(f"--interval={every}",)) as job:
        job.wait_for("sample")
        before = job.processor_s()
        for _ in range(agreements - 2):
            job.wait_for("sample")
        used = job.processor_s() - before
        (record,) = job.finish()
    return Spread.of(1e6 * seconds for seconds in record["agreement_s"]), used / (agreements - 2)


def timed_calls(quick: bool) -> tuple[Table, float]:
    """Measure calls on the timed communicator; return the table and the largest median cost of one call in us."""
    calls_a_turn = 2000 if quick else 50_000
    records = _run([], turn_s=0.1, turns=3 if quick else 25, ranks=1, calls=calls_a_turn, options=(NEVER,))
    rows, costs = [], []
    for record in records:
        # An exchange is three timed calls: Irecv, Send, Wait.
        calls = 3 if record["call"] == "exchange" else 1
        cost = Spread.of(
            1e6 * (timed - plain) / calls for plain, timed in zip(record["plain_s"], record["timed_s"], strict=True)
        )
        name = "Irecv, Send, Wait" if calls == 3 else record["call"]
        rows.append((name, Spread.of(1e6 * s / calls for s in record["plain_s"]), cost))
        costs.append(cost.median)
    table = Table(
        "A call on the timed communicator, 8 bytes, 1 rank",
        ("call", "before a session (us a call)", "flex.comm adds (us a call)"),
        tuple(rows),
    )
    return table, max(costs)


PARTS: dict[str, tuple[Callable[[bool], tuple[Table, float]], str, float]] = {
    "iterations": (between_agreements, "An iteration between agreement points costs, in us", 1.0),
    "agreements": (with_agreements, "Overhead at the default interval for iterations of 1 ms and more, in %", 0.5),
    "calls": (timed_calls, "A call on the timed communicator costs, in us", 0.5),
}


def measure(quick: bool, parts: Sequence[str]) -> Result:
    """Measure what FlexMPI costs a program between reconfigurations."""
    tables, targets = [], []
    for name, (measured, claim, limit) in PARTS.items():
        if name in parts:
            table, figure = measured(quick)
            tables.append(table)
            targets.append(Target(claim, figure, limit))
        else:
            tables.append(Table("", (), ()))
    return Result("overhead", "Overhead", METHOD, machine.describe(), tuple(tables), tuple(targets), LIMITS)


def _run(
    lengths_us: list[float], *, turn_s: float, turns: int, ranks: int, calls: int = 0, options: tuple[str, ...] = ()
) -> list[Record]:
    wanted = ["--turn-s", turn_s, "--turns", turns, "--calls", calls, "--lengths-us", *lengths_us]
    with ElasticJob("overhead", *wanted, ranks=ranks, options=options) as job:
        return job.finish()


def _overhead_us(record: Record) -> Spread:
    pairs = zip(record["plain_s"], record["elastic_s"], strict=True)
    return Spread.of(1e6 * (elastic - plain) for plain, elastic in pairs)


def _length(record: Record) -> str:
    length_us = record["length_us"]
    if not length_us:
        return "empty"
    return f"{length_us:g} us" if length_us < 1000 else f"{length_us / 1000:g} ms"


if __name__ == "__main__":
    command_of_parts(measure, tuple(PARTS))()
