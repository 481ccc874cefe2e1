"""Good sizes fast: start from the relaxation's prices, then give what is left to where it gains most for what it takes.

At the right prices all jobs but a few (as many as there are limits) have one best size each (Kellerer, Pferschy, Pisinger,
2004, chapter 11). Jobs that are alike hesitate together; steps that each raise the sum of values and never exceed a limit find
their sizes. The work is bounded by the constants below.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flexmpi.optimiser.core import Found, enumerate_core
from flexmpi.optimiser.instance import TOLERANCE, Table
from flexmpi.optimiser.relaxation import Relaxation, reduced

SCALINGS = 60
BISECTIONS = 12
FILLING_PASSES = 60


def choose(table: Table, relaxation: Relaxation) -> Found:
    """Return a choice for each job within all limits.

    Parameters
    ----------
    table
        At least one choice for each job, none of which exceeds a limit by itself.
    relaxation
        Its prices lead the search; its bound tells when to stop.
    """
    # What has no price yet still costs something: of two choices of one value the smaller one is taken.
    prices = np.maximum(relaxation.prices, 1e-7 * table.span / table.divisors)
    chosen = _within_limits(table, prices)
    if chosen is not None:
        chosen = _filled(table, prices, chosen)
    return enumerate_core(table, relaxation, chosen)


def _within_limits(table: Table, prices: NDArray[np.float64]) -> NDArray[np.int64] | None:
    """Return the best choices at the lowest multiple of the prices, nearly, at which they keep to all limits.

    Where no multiple will do, whatever is exceeded becomes dearer, until it is not or this is given up.
    """
    cheap, dear, kept = prices, prices, None
    for _ in range(SCALINGS):
        chosen = _best_at(table, dear)
        if table.fits(chosen):
            kept = chosen
            break
        cheap, dear = dear, dear * np.where(table.used(chosen) > table.capacity * (1 + TOLERANCE), 1.5, 1.02)
    for _ in range(BISECTIONS if kept is not None and dear is not prices else 0):
        middle = (cheap + dear) / 2
        chosen = _best_at(table, middle)
        if table.fits(chosen):
            dear, kept = middle, chosen
        else:
            cheap = middle
    return kept


def _best_at(table: Table, prices: NDArray[np.float64]) -> NDArray[np.int64]:
    best: NDArray[np.int64] = reduced(table.values, table.usage, prices).argmax(axis=1)
    return best


def _filled(table: Table, prices: NDArray[np.float64], chosen: NDArray[np.int64]) -> NDArray[np.int64]:
    """Let jobs have sizes of more value while any fit, those first that gain most for what they take."""
    jobs = np.arange(len(chosen))
    all_costs = np.tensordot(prices, table.usage, axes=1)
    for _ in range(FILLING_PASSES):
        left = table.capacity * (1 + TOLERANCE) - table.used(chosen)
        gains = table.values - table.values[jobs, chosen][:, None]
        takes = table.usage - table.usage[:, jobs, chosen][:, :, None]
        possible = (gains > 0) & (takes <= left[:, None, None]).all(axis=0)
        if not possible.any():
            break
        costs = all_costs - all_costs[jobs, chosen][:, None]
        efficiency = np.where(possible, gains / np.maximum(costs, 1e-300), -np.inf)
        best = efficiency.argmax(axis=1)
        of_best = efficiency[jobs, best]
        order = np.argsort(-of_best, kind="stable")[: int((of_best > -np.inf).sum())]
        changed = order[_first_that_fit(takes[:, order, best[order]], left)]
        chosen = chosen.copy()
        chosen[changed] = best[changed]
    return chosen


def _first_that_fit(takes: NDArray[np.float64], left: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Say which of these, in this order, can be had from what is left; one that does not fit is passed over.

    Parameters
    ----------
    takes
        Shape ``(limits, candidates)``.
    left
        Shape ``(limits,)``.
    """
    # Most often a long beginning fits as a whole.
    too_much = np.flatnonzero((np.cumsum(takes, axis=1) > left[:, None]).any(axis=0))
    together = int(too_much[0]) if len(too_much) else takes.shape[1]
    accepted = np.arange(takes.shape[1]) < together
    remaining = (left - takes[:, :together].sum(axis=1)).tolist()
    for candidate, take in enumerate(takes[:, together:].T.tolist(), start=together):
        if all(part <= rest for part, rest in zip(take, remaining, strict=True)):
            accepted[candidate] = True
            remaining = [rest - part for part, rest in zip(take, remaining, strict=True)]
    return accepted
