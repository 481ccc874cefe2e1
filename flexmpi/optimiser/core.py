"""The core: the choices that may still differ between the best solution known and a better one, looked through in part.

The regret of a choice is how much less it is worth, at the relaxation's prices, than its job's best choice. A solution's
distance to the bound is the sum of its regrets and of the prices of what it leaves unused. So no better solution than the
known one has a choice whose regret alone is as large as the known one's distance (reduced-cost fixing; Pisinger, European J.
Operational Research 83, 1995, for the multiple-choice knapsack). What remains is looked through job by job, and of all
partial solutions the most promising ones are kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flexmpi.optimiser.instance import TOLERANCE, Table
from flexmpi.optimiser.relaxation import Relaxation, reduced

OPEN_JOBS = 400
BEAM = 2000


@dataclass(frozen=True, eq=False)
class Core:
    """What is still open.

    Attributes
    ----------
    regret
        Shape ``(jobs, sizes)``, 0 for the best choice of a job and negative for others; minus infinity where nothing is offered.
    possible
        Shape ``(jobs, sizes)``: the choices that a better solution may have.
    distance
        How far the known solution is from the bound; infinite if none is known.
    """

    regret: NDArray[np.float64]
    possible: NDArray[np.bool_]
    distance: float

    @classmethod
    def of(cls, table: Table, relaxation: Relaxation, known: NDArray[np.int64] | None) -> Core:
        """Return what a better solution than the known one may be made of."""
        worth = reduced(table.values, table.usage, relaxation.prices)
        regret = worth - worth.max(axis=1, keepdims=True)
        distance = np.inf if known is None else max(0.0, relaxation.bound - table.worth(known))
        rounding = 1e-9 * abs(relaxation.bound)
        return cls(regret, table.offered & (regret >= -distance - rounding), distance)


@dataclass(frozen=True, eq=False)
class Found:
    """What the search has come to.

    Attributes
    ----------
    chosen
        A choice for each job, shape ``(jobs,)``; None if none within the limits was found.
    proven
        There is no better one; or, where none was found, there is none.
    """

    chosen: NDArray[np.int64] | None
    proven: bool


def enumerate_core(table: Table, relaxation: Relaxation, known: NDArray[np.int64] | None) -> Found:
    """Look for a better solution than the known one, or for one where none is known."""
    core = Core.of(table, relaxation, known)
    open_jobs = np.flatnonzero(core.possible.sum(axis=1) > 1)
    if len(open_jobs) > OPEN_JOBS:
        return Found(known, proven=False)
    # Those first whose choices differ the most in what they cost: what comes later can still make up for it.
    costs = np.tensordot(relaxation.prices, table.usage, axes=1)
    ranges = np.where(core.possible, costs, -np.inf).max(axis=1) - np.where(core.possible, costs, np.inf).min(axis=1)
    open_jobs = open_jobs[np.argsort(-ranges[open_jobs], kind="stable")]
    chosen: NDArray[np.int64] = core.possible.argmax(axis=1)
    sizes, proven = _beam(table, relaxation.prices, core, chosen, open_jobs)
    if sizes is None:
        return Found(known, proven)
    chosen[open_jobs] = sizes
    if table.fits(chosen) and (known is None or table.worth(chosen) > table.worth(known)):
        return Found(chosen, proven)
    return Found(known, proven)


def _beam(
    table: Table, prices: NDArray[np.float64], core: Core, closed: NDArray[np.int64], open_jobs: NDArray[np.int64]
) -> tuple[NDArray[np.int64] | None, bool]:
    """Return the sizes of the open jobs, shape ``(open jobs,)``, in the best solution come across, and whether all were.

    A partial solution promises the bound less its regrets and less the price of what it cannot use up any more.
    """
    limits = table.capacity * (1 + TOLERANCE)
    least, most = _ranges_after(table, core, open_jobs)
    fixed = np.setdiff1d(np.arange(len(closed)), open_jobs)
    used = table.usage[:, fixed, closed[fixed]].sum(axis=1)[:, None]
    regret, complete = np.zeros(1), True
    steps: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    for place, job in enumerate(open_jobs.tolist()):
        offered = np.flatnonzero(core.possible[job])
        regret = (regret[:, None] + core.regret[job, offered]).ravel()
        used = (used[:, :, None] + table.usage[:, job, offered][:, None, :]).reshape(len(used), -1)
        unused = np.maximum(0.0, limits[:, None] - used - most[:, place, None])
        promise = regret - prices @ unused
        kept = np.flatnonzero(
            (used + least[:, place, None] <= limits[:, None]).all(axis=0) & (promise >= -core.distance)
        )
        if len(kept) > BEAM:
            kept, complete = kept[np.argpartition(-promise[kept], BEAM)[:BEAM]], False
        if len(kept) == 0:
            return None, complete
        steps.append((kept // len(offered), offered[kept % len(offered)]))
        regret, used = regret[kept], used[:, kept]
    best = int((regret + prices @ used).argmax())
    sizes = np.empty(len(open_jobs), dtype=np.int64)
    for place, (before, taken) in reversed(list(enumerate(steps))):
        sizes[place], best = taken[best], int(before[best])
    return sizes, complete


def _ranges_after(
    table: Table, core: Core, open_jobs: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the least and the most that the jobs after each open one can use together, shape ``(limits, open jobs)``."""
    possible, usage = core.possible[open_jobs], table.usage[:, open_jobs]
    least = np.where(possible, usage, np.inf).min(axis=2)
    most = np.where(possible, usage, -np.inf).max(axis=2)
    least_after, most_after = (np.cumsum(each[:, ::-1], axis=1)[:, ::-1] - each for each in (least, most))
    return least_after, most_after
