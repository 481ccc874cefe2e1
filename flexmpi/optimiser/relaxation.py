"""The linear relaxation, by its Lagrangian dual: prices for what is limited, and a bound that no choice can exceed.

With prices ``λ >= 0`` for the limits, ``D(λ) = Σ_jobs max_sizes (value - λ·usage) + λ·capacity`` is an upper bound of the
best value for every λ, and its minimum is the optimum of the linear relaxation (Geoffrion, Mathematical Programming Study 2,
1974; for this multiple-choice knapsack: Kellerer, Pferschy, Pisinger, Knapsack Problems, 2004, chapter 11). D is convex with
corners; it is minimised by Newton's method on a smooth neighbour, the maximum replaced by ``T log Σ exp(·/T)`` with T
becoming smaller (Nesterov, Mathematical Programming 103, 2005). However far that comes, the bound reported is D at some λ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flexmpi.optimiser.instance import Table

COOLING = 0.2
COLDEST = 1e-6
"""Of the range of the values. The smooth neighbour lies within T log(sizes) a job."""

NEWTON_STEPS = 30
NO_GRADIENT = 1e-9
DEAREST = 1e8
"""Price of all there is of a limit, in ranges of the values."""

ROUNDING = 2.0**-50
SAMPLED_JOBS = 1000
"""Of many jobs so many show roughly what the prices are; all of them are looked at in the end."""


@dataclass(frozen=True, eq=False)
class Relaxation:
    """Prices, and the bound they prove.

    Attributes
    ----------
    prices
        Of a unit of each limit, shape ``(limits,)``, in units of value.
    bound
        D(prices).
    """

    prices: NDArray[np.float64]
    bound: float


def relax(table: Table) -> Relaxation:
    """Return prices at which the bound is, nearly, the optimum of the linear relaxation.

    Parameters
    ----------
    table
        One job at least, and in each row of it one choice at least.
    """
    usage = table.usage / table.divisors[:, None, None]
    limits = table.capacity / table.divisors
    values = table.values / table.span
    jobs = len(values)
    prices = np.zeros(len(limits))
    every = -(-jobs // SAMPLED_JOBS)
    best = (dual(values, usage, limits, prices), prices)
    temperature = 0.1
    while temperature > COLDEST:
        step = every if temperature > 100 * COLDEST and every > 1 else 1
        share = len(values[::step]) / jobs
        prices = _descend(values[::step], usage[:, ::step], limits * share, prices, temperature)
        if step == 1:
            best = min(best, (dual(values, usage, limits, prices), prices), key=lambda each: each[0])
        temperature *= COOLING
    bound, prices = best
    # Where a limit leaves only the smallest sizes its price has no end, and what it is multiplied by is rounded.
    bound += ROUNDING * (abs(bound) + 2 * float(prices @ limits))
    return Relaxation(prices * table.span / table.divisors, bound * table.span)


def dual(
    values: NDArray[np.float64], usage: NDArray[np.float64], limits: NDArray[np.float64], prices: NDArray[np.float64]
) -> float:
    """Return D(prices)."""
    return float(reduced(values, usage, prices).max(axis=1).sum() + prices @ limits)


def reduced(
    values: NDArray[np.float64], usage: NDArray[np.float64], prices: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the values less what their usage costs, shape ``(jobs, sizes)``."""
    return values - np.tensordot(prices, usage, axes=1)


def _descend(
    values: NDArray[np.float64],
    usage: NDArray[np.float64],
    limits: NDArray[np.float64],
    prices: NDArray[np.float64],
    temperature: float,
) -> NDArray[np.float64]:
    """Minimise the smooth neighbour of D at one temperature, with no price below 0.

    Newton steps on the prices that are free to move (Bertsekas, SIAM J. Control and Optimization 20, 1982), damped as
    Levenberg and Marquardt do (SIAM J. Applied Mathematics 11, 1963): far from the minimum the curvature vanishes.
    """
    smooth, gradient, curvature = _smooth(values, usage, limits, prices, temperature)
    damping = 1e-3
    for _ in range(NEWTON_STEPS):
        free = (prices > 0) | (gradient < 0)
        if not free.any() or float(np.abs(gradient[free]).max()) < NO_GRADIENT * len(values):
            break
        damped = curvature[np.ix_(free, free)] + damping * np.eye(int(free.sum()))
        trial = prices.copy()
        trial[free] = np.clip(prices[free] - np.linalg.solve(damped, gradient[free]), 0.0, DEAREST)
        there = _smooth(values, usage, limits, trial, temperature)
        if there[0] < smooth:
            prices, (smooth, gradient, curvature), damping = trial, there, damping * 0.1
        else:
            damping = max(10 * damping, 1e-9)
    return prices


def _smooth(
    values: NDArray[np.float64],
    usage: NDArray[np.float64],
    limits: NDArray[np.float64],
    prices: NDArray[np.float64],
    temperature: float,
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Return the smooth neighbour of D with its gradient and its curvature."""
    worth = reduced(values, usage, prices)
    top = worth.max(axis=1, keepdims=True)
    weights = np.exp((worth - top) / temperature)
    total = weights.sum(axis=1, keepdims=True)
    weights /= total
    smooth = float(top.sum() + temperature * np.log(total).sum() + prices @ limits)
    mean = np.einsum("js,ijs->ij", weights, usage)
    spread = np.einsum("js,ijs,kjs->ik", weights, usage, usage) - mean @ mean.T
    return smooth, limits - mean.sum(axis=1), spread / temperature
