"""What must change ranks at least, and what does: the distributions of changes that nobody has to carry out. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.figures import Cell, Table
from flexmpi.runtime.arrays.distribution import Distribution, expand_old
from flexmpi.runtime.job.balance import weights_after
from flexmpi.runtime.job.places import newcomers_places

ROWS = 100_000
EVEN = np.ones(ROWS, dtype=np.int64)
UNEVEN = np.where(np.arange(ROWS) < ROWS // 4, 40, np.random.default_rng(1).integers(0, 11, ROWS))
"""Non-zeros of each row: a quarter of the rows has two thirds of them."""
CHANGES: dict[str, tuple[Sequence[float], Sequence[int], Sequence[float]]] = {
    "1 to 2": ([1], [], [1]),
    "2 to 3": ([1, 1], [], [1]),
    "2 to 4": ([1, 1], [], [1, 1]),
    "4 to 2, as they came from 2": ([1, 1, 1, 1], [1, 3], []),
    "4 to 2, the last two leave": ([1, 1, 1, 1], [2, 3], []),
    "8 to 12": ([1] * 8, [], [1] * 4),
    "10 to 11": ([1] * 10, [], [1]),
    "64 to 128": ([1] * 64, [], [1] * 64),
    "4 to 6, new ones twice as fast": ([1] * 4, [], [2, 2]),
    "4 to 4, one for another": ([1] * 4, [1], [1]),
}
"""The present weights, the ranks that leave, and the newcomers' weights."""


def table() -> Table:
    """Compare what moves with the least there can be for the balance wanted, for equal rows and for a matrix."""
    rows: list[tuple[Cell, ...]] = []
    for change, (weights, leaving, newcomers) in CHANGES.items():
        places = newcomers_places(weights, leaving=leaving, newcomers=newcomers)
        after = weights_after(weights, leaving=leaving, newcomers=newcomers, places=places)
        cells: list[Cell] = []
        for costs in (EVEN, UNEVEN):
            old, new = expand_old(Distribution.by_cost(costs, weights), places), Distribution.by_cost(costs, after)
            cells += [100 * share for share in _moved_and_least(np.concatenate([[0], np.cumsum(costs)]), old, new)]
        rows.append((change, *cells))
    return Table(
        "What changes ranks, in % of all",
        ("ranks", "rows of a dense array", "at least", "non-zeros of a CSR matrix", "at least"),
        tuple(rows),
        (
            "Computed, nothing is moved. At least: what ranks have more of than before, wherever it would lie. The matrix has "
            "two thirds of its non-zeros in a quarter of its rows, and is shared by non-zeros.",
        ),
    )


def _moved_and_least(starts: NDArray[np.int64], old: Distribution, new: Distribution) -> tuple[float, float]:
    first = np.maximum(old.offset_array[:-1], new.offset_array[:-1])
    last = np.minimum(old.offset_array[1:], new.offset_array[1:])
    kept = (starts[last] - starts[first]).clip(min=0).sum()
    before, after = (np.diff(starts[each.offset_array]) for each in (old, new))
    return float(1 - kept / starts[-1]), float((after - before).clip(min=0).sum() / starts[-1])
