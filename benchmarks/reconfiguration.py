"""``python -m benchmarks.reconfiguration``: what a program feels of an expansion or a shrink, beside other methods."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np

from benchmarks import elastic_changes, libraries, machine
from benchmarks.elastic_changes import STEPS, Costs
from benchmarks.figures import Cell, Result, Spread, Table, Target
from benchmarks.libraries import Library
from benchmarks.report import command_of_parts
from benchmarks.worlds import run_world

METHOD = (
    "A program with one dense array iterates (2 ms and an Allreduce). What it feels is its longest iteration around a change, "
    "less a normal one of as many ranks. *Join*: `flexmpi run --change join`, ranks of a new process set. *Handover*: "
    "`flexmpi run --change handover`, a whole new world, which maps the rows where they lie; the iteration that begins in the "
    "old world and ends when the first one of the new begins counts as one. *Spawn*: blocking `MPI_Comm_spawn`, merge and "
    "Alltoallv in the program itself, as FlexMPI's C original and its kind do. *Restart*: the ranks write the array to a file "
    "(which stays in the page cache), end, and as many as wanted start and read it. *Limit*: the bytes that must change ranks at "
    "least, copied by one core between blocks that have their memory. Join, Spawn and Restart run under MPICH."
)
LIMITS = (
    "Handover: what is felt are the ways of some messages through node launchers and supervisor, and the new world's first "
    "collective call; none of it depends on the size. Where rows change nodes (*to another node*) they travel by MPI, as these "
    "virtual nodes' do though they share a memory.",
    "Handover starts as many processes as the new world has, beside the computation: the work that is lost on cores that all "
    "compute. `--warm` and ranks that are made ready before (command 13) are the remedies.",
    "Join, 1 MB: what is left is the join: a few messages through supervisor and node launchers, Accept and Connect, Merge.",
    "Join, 200 MB and more: one process reads another's memory at about two thirds of memcpy's speed (cross-memory attach). So "
    "both ends copy, each a part, where both have a core. Newcomers get the memory for their rows before they join; a rank that "
    "stays and gets rows gets it meanwhile, and where the system is slow to give it, that makes the largest figures of 2 to 1 "
    "and 4 to 2.",
    "2 to 3 and 2 to 4 ranks: rows stay in one piece on each rank and in the order of the ranks: where the size does not become "
    "a multiple, joining moves up to a quarter of all rows above the lower bound (a test compares with it).",
    "2 to 1 ranks of little data: spawned ranks leave by a Split alone; here the supervisor is told of each step.",
)
PAIRS = ((1, 2), (2, 3), (2, 4))
CHANGES = ((1, 2), (2, 1), (2, 3), (2, 4), (4, 2))
SIZES_MB = {"1-MB": 1.0, "32-MB": 32.0, "200-MB": 200.0, "1000-MB": 1000.0, "2000-MB": 2000.0}
QUICK_SIZES_MB = {"1-MB": 1.0, "32-MB": 4.0}
WITHIN = 2.0
"""So many times what is felt with the smallest array may be felt with the largest, by handover."""
OTHER_NODE = "Handover, to another node"
Change = tuple[int, int]
Methods = Mapping[str, list[float]]


def measure(quick: bool, parts: Sequence[str], pythons: Mapping[str, Path]) -> Result:
    """Measure what a program feels of expansions and shrinks, against MPI_Comm_spawn, restart, and memcpy."""
    found = libraries.find(pythons)
    tables: list[Table] = []
    targets: list[Target] = []
    by_size: dict[float, dict[Change, Methods]] = {}
    for name, megabytes in (QUICK_SIZES_MB if quick else SIZES_MB).items():
        felt: dict[Change, Methods] = {}
        besides: dict[str, Costs] = {}
        if name in parts:
            for few, many in PAIRS[:1] if quick else PAIRS:
                side = Side(megabytes, few, many, found, turns=1 if quick else 5, warm_up=0 if quick else 1)
                felt[few, many], felt[many, few] = side.felt(0), side.felt(1)
                besides |= side.besides if (few, many) == PAIRS[0] else {}
            by_size[megabytes] = felt
            targets += _targets(megabytes, felt)
        tables += [_table(megabytes, felt, found), _besides(megabytes, besides)]
    targets += _whatever_the_size(by_size, found)
    described = {**machine.describe(), "MPI": "; ".join(each.version for each in found if each.version)}
    return Result("reconfiguration", "Reconfiguration", METHOD, described, tuple(tables), tuple(targets), LIMITS)


class Side:
    """All methods' figures for the changes between two numbers of ranks, measured one method after the other.

    Other libraries than the first are measured between 1 and 2 ranks.

    Attributes
    ----------
    besides
        What else the changes of elastic jobs cost, by the change and the method.
    """

    def __init__(
        self, megabytes: float, few: int, many: int, found: Sequence[Library], *, turns: int, warm_up: int
    ) -> None:
        self._methods: dict[str, tuple[list[float], list[float]]] = {}
        self.besides: dict[str, Costs] = {}
        self._names = f"{few} to {many}", f"{many} to {few}"
        size = megabytes, few, many, turns
        self._add("Join", elastic_changes.measure(*size, way="join", warm_up=warm_up))
        for place, library in enumerate(found):
            if library.version and (place == 0 or (few, many) == PAIRS[0]):
                costs = elastic_changes.measure(*size, way="handover", warm_up=warm_up, python=library.python)
                self._add(_column(library), costs)
        if (few, many) == PAIRS[0]:
            self._add(OTHER_NODE, elastic_changes.measure(*size, way="handover", warm_up=warm_up, node="node2"))
        self._methods["Spawn"] = _spawning_s(*size)
        self._methods["Restart"] = _restarting_s(megabytes, few, many, max(1, turns // 2))
        limit = _memcpy_s(*size)
        self._methods["Limit"] = limit, limit

    def _add(self, method: str, costs: tuple[Costs, Costs]) -> None:
        self._methods[method] = costs[0].felt, costs[1].felt
        self.besides |= {f"{name}, {method}": each for name, each in zip(self._names, costs, strict=True)}

    def felt(self, direction: int) -> Methods:
        """Return the seconds felt of each expansion (0) or shrink (1), by method."""
        return {name: figures[direction] for name, figures in self._methods.items()}


def _column(library: Library) -> str:
    return f"Handover, {library.name}"


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


def _table(megabytes: float, figures: Mapping[Change, Methods], found: Sequence[Library]) -> Table:
    columns = ("Join", *map(_column, found), "Spawn", "Restart", "Limit")
    rows: list[tuple[Cell, ...]] = []
    for change in (each for each in CHANGES if each in figures):
        methods = figures[change]
        star = " *" if max(change) > 2 else ""
        cells: list[Cell] = [_ms(methods[column]) if column in methods else "-" for column in columns]
        handover = methods[_column(found[0])]
        ratios = [Spread.of_ratios(methods[other], handover) for other in ("Join", "Spawn")]
        rows.append((f"{change[0]} to {change[1]}{star}", *cells, *ratios))
    missing = [f"{each.name} was not measured: {each.why}." for each in found if each.why]
    others = [each.name for each in found[1:] if not each.why]
    few = [f"{' and '.join(others)}: between 1 and 2 ranks only."] if others else []
    return Table(
        f"{megabytes:g} MB: what the program feels, in ms",
        ("ranks", *columns, "Join / Handover", "Spawn / Handover"),
        tuple(rows),
        (
            "\\* more ranks than cores here: ranks wait for each other's time slices, with every method. Ratios: to Handover "
            f"under {found[0].name}, turn by turn.",
            *missing,
            *few,
        ),
    )


def _besides(megabytes: float, costs: Mapping[str, Costs]) -> Table:
    """Tell what changes between 1 and 2 ranks cost besides what is felt, and whether the record of a change is right."""
    rows = [
        (
            name,
            _ms(each.felt),
            _ms(each.stood) if each.stood else None,
            _ms(each.recorded),
            *(_ms(each.steps[step]) if each.steps else None for step in STEPS),
            Spread.of(each.lost),
            Spread.of(each.took),
        )
        for name, each in costs.items()
    ]
    stood = ("stood still (ms)", "by its record (ms)", "to plan", "to hand over", "to take", "to begin")
    headings = ("felt (ms)", *stood, "work lost (s)", "from order to end (s)")
    return Table(
        f"{megabytes:g} MB: what changes between 1 and 2 ranks cost besides",
        ("ranks, method", *headings),
        tuple(rows),
        (
            "Stood still: from the end of the old world's last iteration to the begin of the new one's first, by the programs' "
            "own clock; the record counts the plan too, at an agreement point before. Work lost: by how much the iterations "
            "took longer than normal ones, from the order until all is settled again; below 0 where normal ones were disturbed "
            "more.",
        ),
    )


def _ms(seconds: Sequence[float]) -> Spread:
    return Spread.of(1e3 * each for each in seconds)


def _median(seconds: Sequence[float]) -> float:
    return Spread.of(seconds).median


def _targets(megabytes: float, figures: Mapping[Change, Methods]) -> list[Target]:
    methods = figures[1, 2]
    felt = {name: _median(methods[name]) for name in ("Join", "Spawn", "Limit")}
    felt["Handover"] = _median(methods[f"Handover, {next(iter(libraries.PYTHONS))}"])
    limits = {1.0: 1 / 20, 200.0: 1 / 3}.get(megabytes)
    if limits is None:
        return []
    claims = [
        Target(f"{megabytes:g} MB, 1 to 2 ranks: {way} / Spawn", felt[way] / felt["Spawn"], limits)
        for way in ("Handover", "Join")
    ]
    if megabytes == 200:
        claims.append(Target("200 MB, 1 to 2 ranks: Join / Limit", felt["Join"] / felt["Limit"], 3.0))
    return claims


def _whatever_the_size(by_size: Mapping[float, Mapping[Change, Methods]], found: Sequence[Library]) -> list[Target]:
    """Compare what is felt with the largest array and with the smallest, where both were measured."""
    if len(by_size) < 2:
        return []
    smallest, largest = min(by_size), max(by_size)
    return [
        Target(
            f"{_column(library)}, {before} to {after} ranks: felt with {largest:g} MB, as a multiple of {smallest:g} MB",
            _median(by_size[largest][before, after][_column(library)])
            / _median(by_size[smallest][before, after][_column(library)]),
            WITHIN,
        )
        for library in found
        if library.version
        for before, after in ((1, 2), (2, 1))
    ]


if __name__ == "__main__":
    command_of_parts(measure, tuple(SIZES_MB), libraries.OPTION)()
