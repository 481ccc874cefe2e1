"""Seconds of communicating in an iteration, against the number of ranks: a latency and a time per byte for each class of calls.

A call takes ``α steps(p) + β m volume(p)`` with Hockney's α and β (Parallel Computing 20, 1994) and, for collectives, the
steps and volumes of the algorithms that MPI libraries use (Thakur, Rabenseifner, Gropp: Int. J. High Performance Computing
Applications 19, 2005). Both are learnt from this job's calls, so they hold what ranks wait for each other, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil, log2

import numpy as np

from flexmpi.models.estimate import Estimate, Fit, Refusal, fit
from flexmpi.models.layout import Layout
from flexmpi.models.observation import UNCLASSIFIED, History, Operation

LATENCY_PRIOR_S = 2e-6
BYTE_PRIOR_S = 1e-10
"""Shared memory and fast networks are about so. Decides only how a time is divided between α and β while one size is known."""

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
    bytes_shared
        The bytes of a call are a rank's part of something whose size does not depend on ``p``.
    """

    steps: Callable[[int], float]
    volume: Callable[[int], float]
    bytes_shared: bool = False


def _rounds(ranks: int) -> float:
    return float(ceil(log2(ranks)))


CLASSES: Mapping[str, OperationClass] = {
    "point-to-point": OperationClass(lambda p: float(p > 1), lambda p: float(p > 1)),
    "broadcast": OperationClass(_rounds, _rounds),
    "reduction": OperationClass(_rounds, _rounds),
    "gathering": OperationClass(_rounds, lambda p: (p - 1) / p),
    "all-to-all": OperationClass(lambda p: float(p - 1), lambda p: (p - 1) / p, bytes_shared=True),
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
        The fit of α and β for each class, in seconds and seconds a byte.
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
        """Fit the model; refused while the job calls MPI and has never had two ranks."""
        if history.too_few is not None or history.latest is None:
            return history.too_few or Refusal("no sampling interval measured")
        several = [layout for layout in history.seen if layout.ranks > 1]
        calls, ranks = history.latest.operations, history.latest.layout.ranks
        if not several and calls:
            return Refusal("no call between two ranks has been timed yet")
        terms = {name: _terms(history, several, name) for name in _names(history, several)}
        return cls(calls, terms, tuple(sorted({layout.ranks for layout in several})), ranks)

    def predict(self, layout: Layout) -> Estimate:
        """Return the seconds that an iteration communicates in some layout."""
        total = Estimate(0.0, 0.0)
        if layout.ranks == 1:
            return total
        for name, fitted in self.terms.items():
            if (operation := self.calls.get(name)) is not None:
                total += fitted.at(_features(name, operation, layout.ranks, measured_on=self.ranks))
        far = min((abs(log2(layout.ranks / ranks)) for ranks in self.measured_on), default=0.0)
        return Estimate(total.value, float(np.hypot(total.error, EXTRAPOLATION * far * total.value)))


def _names(history: History, layouts: list[Layout]) -> list[str]:
    return sorted({name for layout in layouts for each in history.seen[layout] for name in each.operations})


def _terms(history: History, layouts: list[Layout], name: str) -> Fit:
    features, seconds, noise = [], [], []
    for layout in layouts:
        operation = history.seen[layout][-1].operations.get(name)
        if operation is not None:
            time_s, error_s = history.typical(layout, lambda each: _seconds(each.operations.get(name)))
            features.append(_features(name, operation, layout.ranks, measured_on=layout.ranks))
            seconds.append(time_s)
            noise.append(max(error_s, 1e-9))
    prior = np.array([LATENCY_PRIOR_S, BYTE_PRIOR_S])
    # Slower than expected, by waiting for instance: then both are, as far as nothing tells them apart.
    expected = np.asarray(features) @ prior
    prior *= np.median(np.asarray(seconds) / np.maximum(expected, 1e-12))
    prior = np.maximum(prior, 1e-3 * np.array([LATENCY_PRIOR_S, BYTE_PRIOR_S]))
    return fit(features, seconds, noise=noise, prior=prior, prior_error=PRIOR_RANGE * prior)


def _features(name: str, operation: Operation, ranks: int, *, measured_on: int) -> list[float]:
    """Return the latencies and the bytes of an iteration on ``ranks`` ranks, of calls that were measured on others."""
    known = CLASSES[name]
    size_bytes = operation.size_bytes * (measured_on / ranks if known.bytes_shared else 1.0)
    return [operation.calls * known.steps(ranks), size_bytes * known.volume(ranks)]


def _seconds(operation: Operation | None) -> float:
    return 0.0 if operation is None else operation.seconds
