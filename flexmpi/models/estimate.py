"""What a model answers, and the least-squares fit that all of them share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEAST_NOISE = 0.01
"""No measurement of a running machine is trusted to be nearer than this, relative to its value."""


@dataclass(frozen=True)
class Estimate:
    """A figure that was not measured.

    Attributes
    ----------
    value
        In the unit that the attribute or function it comes from has in its name.
    error
        Its standard error, in the same unit.
    source
        ``learnt`` from this job's samples, or ``declared`` by a person or as a default, and then as good as that.
    """

    value: float
    error: float
    source: Literal["learnt", "declared"] = "learnt"

    def scaled(self, factor: float) -> Estimate:
        """Return it in other units, or so many times."""
        return Estimate(self.value * factor, self.error * abs(factor), self.source)

    def __add__(self, other: Estimate) -> Estimate:
        """Add an independent estimate; what is partly declared counts as declared."""
        source = self.source if self.source == other.source else "declared"
        return Estimate(self.value + other.value, float(np.hypot(self.error, other.error)), source)

    def __str__(self) -> str:
        return f"{self.value:.4g} ± {self.error:.2g}{' (declared)' if self.source == 'declared' else ''}"


@dataclass(frozen=True)
class Refusal:
    """Why a model does not answer, in words for a person: what it has seen and what it needs."""

    why: str

    def __str__(self) -> str:
        return self.why


@dataclass(frozen=True, eq=False)
class Fit:
    """Coefficients of a linear model, none negative, and how sure they are.

    Attributes
    ----------
    coefficients
        Shape ``(features,)``, in the units of the targets over those of the features.
    covariance
        Shape ``(features, features)``. It is that of the fit without the bound at 0, so wide where the samples say little.
    """

    coefficients: NDArray[np.float64]
    covariance: NDArray[np.float64]

    def at(self, features: Sequence[float]) -> Estimate:
        """Return the fitted value at these features, shape ``(features,)``."""
        point = np.asarray(features, dtype=float)
        variance = float(point @ self.covariance @ point)
        return Estimate(float(point @ self.coefficients), float(np.sqrt(max(0.0, variance))))


def fit(features: ArrayLike, targets: ArrayLike, *, noise: ArrayLike, prior: ArrayLike, prior_error: ArrayLike) -> Fit:
    """Fit ``targets = features @ coefficients`` by least squares with no coefficient below 0.

    Bayesian linear regression with Gaussian noise and prior (Bishop, Pattern Recognition and Machine Learning, 2006, 3.3):
    the most probable coefficients solve a least-squares problem with one more row for each coefficient; with the bound it is
    a non-negative least-squares problem (Lawson and Hanson, Solving Least Squares Problems, 1974, chapter 23). The prior
    decides only in directions that the samples leave open. Where samples lie further from the fit than their noise says,
    the noise is taken to be as large as they show (Birge, Phys. Rev. 40, 207, 1932).

    Parameters
    ----------
    features
        Shape ``(samples, features)``; at most four features.
    targets, noise
        Shape ``(samples,)``: what was measured, and its standard errors, positive and in the same unit.
    prior, prior_error
        Shape ``(features,)``: coefficients to expect without any sample, and their standard errors, positive.

    Raises
    ------
    ValueError
        Too many features: every subset of them is tried.
    """
    matrix, values = np.atleast_2d(np.asarray(features, dtype=float)), np.asarray(targets, dtype=float)
    errors, expected = np.asarray(noise, dtype=float), np.asarray(prior, dtype=float)
    expected_errors = np.asarray(prior_error, dtype=float)
    if matrix.shape[1] > 4:
        raise ValueError(f"at most 4 features, got {matrix.shape[1]}")
    # In units of the prior's errors, in which no unknown is much larger than another and the equations never singular.
    weighted = np.vstack([matrix * expected_errors / errors[:, None], np.eye(len(expected))])
    wanted = np.concatenate([values / errors, expected / expected_errors])
    scaled = non_negative(weighted, wanted)
    residuals = weighted[: len(values)] @ scaled - wanted[: len(values)]
    excess = float(residuals @ residuals) / max(1, len(values))
    if excess > 1:
        weighted[: len(values)] /= np.sqrt(excess)
        wanted[: len(values)] /= np.sqrt(excess)
        scaled = non_negative(weighted, wanted)
    # No singular value is below 1, for the prior is among the equations; rounding may say so where samples are very sure.
    _, singular, directions = np.linalg.svd(weighted, full_matrices=False)
    spread = directions.T / np.maximum(singular, 1.0) * expected_errors[:, None]
    return Fit(scaled * expected_errors, spread @ spread.T)


def non_negative(matrix: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the ``x >= 0`` that minimises ``|matrix @ x - values|``, for a few unknowns: the best of all sets that are not 0.

    Parameters
    ----------
    matrix
        Shape ``(equations, unknowns)``, of full rank.
    values
        Shape ``(equations,)``.
    """
    unknowns = matrix.shape[1]
    best, least = np.zeros(unknowns), float(values @ values)
    for free in chain.from_iterable(combinations(range(unknowns), count) for count in range(1, unknowns + 1)):
        some = list(free)
        solution = np.linalg.lstsq(matrix[:, some], values, rcond=None)[0]
        residual = float(np.sum((matrix[:, some] @ solution - values) ** 2))
        if np.all(solution >= 0) and residual < least:
            best, least = np.zeros(unknowns), residual
            best[some] = solution
    return best


def typical(values: ArrayLike, weights: ArrayLike) -> tuple[float, float]:
    """Return the weighted median of measurements and its standard error, which no outlier moves.

    The standard error is that of a median of Gaussian values, √(π/2) σ/√n, with σ from the weighted median absolute
    deviation (σ = 1.4826 MAD; Huber, Robust Statistics, 1981, 5.1), and not below `LEAST_NOISE`.

    Parameters
    ----------
    values
        Measurements, shape ``(n,)``, one at least.
    weights
        How much each counts, shape ``(n,)``, positive.
    """
    measured, counting = np.asarray(values, dtype=float), np.asarray(weights, dtype=float)
    middle = _weighted_median(measured, counting)
    spread = 1.4826 * _weighted_median(np.abs(measured - middle), counting)
    effective = float(counting.sum() ** 2 / np.sum(counting**2))
    return middle, float(np.hypot(np.sqrt(np.pi / 2 / effective) * spread, LEAST_NOISE * abs(middle)))


def _weighted_median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(below, below[-1] / 2)])
