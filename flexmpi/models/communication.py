"""Seconds of communicating in an iteration, against the number of ranks: a latency and a time per byte for each class of calls.

A call takes ``η + δ m own(p) + α steps(p) + β m volume(p)`` with Hockney's α and β (Parallel Computing 20, 1994) and, for
collectives, the steps and volumes of the algorithms that MPI libraries use (Thakur, Rabenseifner, Gropp: Int. J. High Performance
Computing Applications 19, 2005). Before them stands what a rank does whether there are others or not, as in LogP's overhead
(Culler and others, PPoPP 1993): the call itself, and copying its own part. All four are learnt from this job's calls, so α and β
hold what ranks wait for each other, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import ceil, log2

import numpy as np
from numpy.typing import NDArray

from flexmpi.models.estimate import Estimate, Fit, Refusal, fit
from flexmpi.models.layout import Layout
from flexmpi.models.observation import UNCLASSIFIED, History, Operation

LATENCY_PRIOR_S = 2e-6
BYTE_PRIOR_S = 1e-10
"""Shared memory and fast networks are about so. It stands in for α and β until a call between two ranks has been timed, and
decides how a time is divided between them while one size is known."""

CALL_PRIOR_S = 1e-6
COPY_PRIOR_S = 1e-10
"""The same for a call that reaches nobody, and for copying a byte."""

PRIOR_RANGE = 10.0
EXTRAPOLATION = 0.25
"""Standard error of the form of the model, relative, for each doubling or halving away from the ranks that were measured."""


@dataclass(frozen=True)
class OperationClass:
    """How a class of calls depends on the number of ranks.

    Attributes
    ----------
    steps, volume
        So many latencies, and so many times a call's bytes, on ``p`` ranks.
    own
        The part of its bytes that a rank copies by itself.
    bytes_shared
        The bytes of a call are a rank's part of something whose size does not depend on ``p``.
    """

    steps: Callable[[int], float]
    volume: Callable[[int], float]
    own: Callable[[int], float] = lambda p: 0.0
    bytes_shared: bool = False


def _rounds(ranks: int) -> float:
    return float(ceil(log2(ranks)))


CLASSES: Mapping[str, OperationClass] = {
    "point-to-point": OperationClass(lambda p: float(p > 1), lambda p: float(p > 1)),
    "broadcast": OperationClass(_rounds, _rounds),
    "reduction": OperationClass(_rounds, _rounds, own=lambda p: 1.0),
    "gathering": OperationClass(_rounds, lambda p: (p - 1) / p, own=lambda p: 1 / p),
    "all-to-all": OperationClass(lambda p: float(p - 1), lambda p: (p - 1) / p, own=lambda p: 1 / p, bytes_shared=True),
    "barrier": OperationClass(_rounds, lambda p: 0.0),
    UNCLASSIFIED: OperationClass(_rounds, lambda p: 0.0),
}
"""
In this order: binomial tree (broadcast); recursive doubling of short messages (reductions) and of what a rank ends with (gather,
scatter, allgather: the bytes are those of the whole); pairwise exchange (alltoall: those of a rank's part); dissemination.
"""


@dataclass(frozen=True, eq=False)
class Communication:
    """How long iterations communicate, fitted to a job's history.

    Attributes
    ----------
    calls
        What a rank calls in an iteration, by class, as last measured.
    terms
        The fit of η, δ, α and β for each class, in seconds and seconds a byte.
    measured_on
        The numbers of ranks that have been measured, all above 1.
    ranks
        The present number of ranks.
    """

    calls: Mapping[str, Operation]
    terms: Mapping[str, Fit]
    measured_on: tuple[int, ...]
    ranks: int

    @classmethod
    def fitted(cls, history: History) -> Communication | Refusal:
        """Fit the model; refused before the present layout has been measured for `MINIMUM_INTERVALS`."""
        if history.too_few is not None or history.latest is None:
            return history.too_few or Refusal("no sampling interval measured")
        terms = {name: _terms(history, name) for name in _names(history)}
        measured_on = sorted({layout.ranks for layout in history.seen if layout.ranks > 1})
        return cls(history.latest.operations, terms, tuple(measured_on), history.latest.layout.ranks)

    def predict(self, layout: Layout) -> Estimate:
        """Return the seconds that an iteration communicates in some layout; declared while no two ranks have done so."""
        total = Estimate(0.0, 0.0)
        for name, operation in self.calls.items():
            total += self.terms[name].at(_features(name, operation, layout.ranks, measured_on=self.ranks))
        if layout.ranks == 1 or not self.calls:
            return total
        if not self.measured_on:
            return replace(total, source="declared")
        far = min(abs(log2(layout.ranks / ranks)) for ranks in self.measured_on)
        return Estimate(total.value, float(np.hypot(total.error, EXTRAPOLATION * far * total.value)))


def _names(history: History) -> list[str]:
    return sorted({name for intervals in history.seen.values() for each in intervals for name in each.operations})


def _terms(history: History, name: str) -> Fit:
    features, seconds, noise = [], [], []
    for layout, intervals in history.seen.items():
        operation = intervals[-1].operations.get(name)
        if operation is not None:
            time_s, error_s = history.typical(layout, lambda each: _seconds(each.operations.get(name)))
            features.append(_features(name, operation, layout.ranks, measured_on=layout.ranks))
            seconds.append(time_s)
            noise.append(max(error_s, 1e-9))
    prior = _prior(np.asarray(features), np.asarray(seconds))
    return fit(features, seconds, noise=noise, prior=prior, prior_error=PRIOR_RANGE * prior)


def _prior(features: NDArray[np.float64], seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what to expect: as declared, but larger or smaller where ranks have shown that it is.

    That of a rank alone and that of several are scaled each by itself: ranks wait for each other, for instance, and then α and β
    are taken to hold that, as far as nothing tells them apart.
    """
    prior = np.array([CALL_PRIOR_S, COPY_PRIOR_S, LATENCY_PRIOR_S, BYTE_PRIOR_S])
    several = features[:, 2:].any(axis=1)
    for terms, measured in ((slice(0, 2), ~several), (slice(2, 4), several)):
        expected_s = features[:, terms] @ prior[terms]
        known = measured & (expected_s > 0)
        if known.any():
            others_s = features @ prior - expected_s
            prior[terms] *= max(1e-3, float(np.median((seconds - others_s)[known] / expected_s[known])))
    return prior


def _features(name: str, operation: Operation, ranks: int, *, measured_on: int) -> list[float]:
    """Return calls, bytes copied, latencies and bytes moved in an iteration on ``ranks`` ranks, of calls measured on others."""
    known = CLASSES[name]
    size_bytes = operation.size_bytes * (measured_on / ranks if known.bytes_shared else 1.0)
    return [
        operation.calls,
        size_bytes * known.own(ranks),
        operation.calls * known.steps(ranks),
        size_bytes * known.volume(ranks),
    ]


def _seconds(operation: Operation | None) -> float:
    return 0.0 if operation is None else operation.seconds
