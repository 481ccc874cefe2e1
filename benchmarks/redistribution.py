"""``python -m benchmarks.redistribution``: how fast rows move to the ranks that hold them next, and what those cost that stay."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence

from benchmarks import least, machine
from benchmarks.figures import Cell, Result, Spread, Table, Target
from benchmarks.report import command_of_parts
from benchmarks.worlds import PROGRAMS, Record, environment, run_world

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


BLOCKS: dict[str, tuple[Sequence[float], Sequence[float]]] = {
    "rows come behind: 512 to 768 MB": ((0, 512), (0, 768)),
    "rows come in front: 512 to 768 MB": ((256, 768), (0, 768)),
    "the first half goes: 512 to 256 MB": ((0, 512), (256, 512)),
}
"""Where a block begins and ends in its array, in MB, and the next one."""
OBJECTS = {
    "dense-64": ("dense", 64.0),
    "dense-512": ("dense", 512.0),
    "csr-64": ("csr", 64.0),
    "csr-512": ("csr", 512.0),
}
PARTS = (*OBJECTS, "staying")
LIMITS = (
    "Rows that stay: spare room is address space for the whole array on every rank, in which every row has its place and only "
    "the rows a rank holds take memory. It is what FlexMPI uses: remapping by mremap is nearly as quick, but the old block is "
    "gone when the new one has its rows, so that constant rows could not move ahead. Both need address space or page tables to "
    "be had: under `ulimit -v` or strict overcommit, blocks are copied. A matrix has spare room from its first change on; "
    "before, its rows lie where the program has put them, and are copied once.",
    "What changes ranks: rows stay in one piece on each rank and in the order of the ranks, which programs rely on; that is all "
    "that keeps it from the least.",
    "One process reads or writes another's memory at about two thirds of memcpy's speed; both ends copy, where both have a core.",
)


def measure(quick: bool, parts: Sequence[str]) -> Result:
    """Measure redistribution against memcpy, Alltoallv, RMA and pickle, dense and CSR, and rows that stay."""
    changes = dict(list(CHANGES.items())[:1] if quick else CHANGES.items())
    tables, targets = [], []
    for name, (kind, full_size) in OBJECTS.items():
        megabytes = 8.0 if quick else full_size
        if name not in parts:
            tables.append(_table(kind, megabytes, {}))
            continue
        records = {
            change: _record(kind, megabytes, old, new, turns=2 if quick else 5)
            for change, (old, new) in changes.items()
        }
        tables.append(_table(kind, megabytes, records))
        if name == "dense-512":
            worst = min(_share_of_memcpy(record) for name, record in records.items() if not name.endswith("*"))
            claim = f"{megabytes:g} MB dense, slowest change of up to 2 ranks, as a share of memcpy's speed"
            targets.append(Target(claim, worst, 0.6, at_least=True))
    blocks = BLOCKS if "staying" in parts else {}
    tables += [_staying(blocks, shrunk_by=16 if quick else 1, turns=2 if quick else 7), least.table()]
    return Result("redistribution", "Redistribution", METHOD, machine.describe(), tuple(tables), tuple(targets), LIMITS)


def _staying(blocks: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, shrunk_by: int, turns: int) -> Table:
    """Measure how rows that stay come to their place in the next block."""
    rows: list[tuple[Cell, ...]] = []
    for change, (old, new) in blocks.items():
        before, after = ([each / shrunk_by for each in block] for block in (old, new))
        arguments = ["--old", *before, "--new", *after, "--turns", turns]
        command = [sys.executable, str(PROGRAMS / "staying.py"), *map(str, arguments)]
        output = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, text=True, check=True).stdout
        record = json.loads(output)
        for way, figures in record["figures"].items():
            moving, looking, peaks = zip(*figures, strict=True)
            times = (Spread.of(1e3 * seconds for seconds in each) for each in (moving, looking))
            rows.append((change, way, *times, max(peaks) / 1e6))
    return Table(
        "Rows that stay, in one process",
        ("block", "way", "until in place (ms)", "a first look at all their pages (ms)", "peak memory (MB)"),
        tuple(rows),
        (
            "Rows of 8,000 bytes, so that no row begins where a page does. Without the rows that come: their memory and their "
            "way are the same in all. Shared memory has no huge pages here, and its page tables are filled by the first look.",
        ),
    )


def _record(kind: str, megabytes: float, old: tuple[int, ...], new: tuple[int, ...], *, turns: int) -> Record:
    wanted = ["--kind", kind, "--megabytes", megabytes, "--old", *old, "--new", *new, "--turns", turns]
    return run_world(len(old), "redistribution", *wanted)[0]


def _table(kind: str, megabytes: float, records: dict[str, Record]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for change, record in records.items():
        moved_gb = record["moved_bytes"] / 1e9
        for way in record["times_s"]:
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
    command_of_parts(measure, PARTS)()
