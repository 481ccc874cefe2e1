"""``python -m benchmarks.redistribution``: how fast rows move to the ranks that hold them next."""

from __future__ import annotations

from benchmarks import machine
from benchmarks.figures import Cell, Result, Spread, Table, Target
from benchmarks.report import command
from benchmarks.worlds import Record, run_world

METHOD = (
    "One object moves from an old to a new distribution in an MPI world that holds the ranks of both. The ways take turns; all "
    "begin with filled blocks and end with blocks in memory that is asked for meanwhile, as in a change of ranks. GB/s count "
    "the bytes that change ranks (1 GB is 10^9 bytes). memcpy copies as many bytes on one core, between blocks that have "
    "their memory."
)
MEASURABLE_MEGABYTES = 256
"""Of smaller blocks it cannot be told from outside what memory they take, for the C library keeps some for them."""
CHANGES = {
    "1 to 2 ranks": ((1, 0), (1, 1)),
    "2 to 1 ranks": ((1, 1), (1, 0)),
    "2 ranks, 3:1 to 1:3": ((3, 1), (1, 3)),
    "2 to 4 ranks *": ((1, 1, 0, 0), (1, 1, 1, 1)),
    "4 to 2 ranks *": ((1, 1, 1, 1), (1, 1, 0, 0)),
}


def measure(quick: bool) -> Result:
    """Measure redistribution against memcpy, Alltoallv, RMA and pickle, dense and CSR."""
    cases = (
        [("dense", 8.0), ("csr", 8.0)] if quick else [("dense", 64.0), ("dense", 512.0), ("csr", 64.0), ("csr", 512.0)]
    )
    changes = dict(list(CHANGES.items())[:1] if quick else CHANGES.items())
    tables, targets = [], []
    for kind, megabytes in cases:
        records = {
            change: _record(kind, megabytes, old, new, turns=2 if quick else 5)
            for change, (old, new) in changes.items()
        }
        tables.append(_table(kind, megabytes, records))
        if kind == "dense":
            worst = min(_share_of_memcpy(record) for name, record in records.items() if not name.endswith("*"))
            claim = f"{megabytes:g} MB dense, slowest change of up to 2 ranks, as a share of memcpy's speed"
            targets.append(Target(claim, worst, 0.6, at_least=True))
    return Result("redistribution", "Redistribution", METHOD, machine.describe(), tuple(tables), tuple(targets[-1:]))


def _record(kind: str, megabytes: float, old: tuple[int, ...], new: tuple[int, ...], *, turns: int) -> Record:
    wanted = ["--kind", kind, "--megabytes", megabytes, "--old", *old, "--new", *new, "--turns", turns]
    return run_world(len(old), "redistribution", *wanted)[0]


def _table(kind: str, megabytes: float, records: dict[str, Record]) -> Table:
    ways = list(next(iter(records.values()))["times_s"])
    rows: list[tuple[Cell, ...]] = []
    for change, record in records.items():
        moved_gb = record["moved_bytes"] / 1e9
        for way in ways:
            rate = Spread.of(moved_gb / seconds for seconds in record["times_s"][way])
            share = Spread.of_ratios(record["memcpy_s"], record["times_s"][way])
            peak = max(record["peaks"][way]) if megabytes >= MEASURABLE_MEGABYTES else None
            rows.append((change, way, rate, share, peak))
        rows.append(
            (change, "memcpy, 1 core", Spread.of(moved_gb / seconds for seconds in record["memcpy_s"]), 1.0, None)
        )
    return Table(
        f"{'A dense array' if kind == 'dense' else 'A CSR matrix'} of {megabytes:g} MB",
        ("change", "way", "GB/s", "of memcpy's speed", "peak memory, in arrays"),
        tuple(rows),
        (
            "\\* more ranks than cores here. Peak memory: of all ranks together, old blocks included, in multiples of the array.",
        ),
    )


def _share_of_memcpy(record: Record) -> float:
    return Spread.of_ratios(record["memcpy_s"], record["times_s"]["FlexMPI"]).median


if __name__ == "__main__":
    command(measure)()
