"""How long an iteration of an elastic job takes against its nodes, learnt from what the job tells the agent. Pure.

``t(n) = σ + π/n + κ (n - 1)``: Amdahl's law (AFIPS 1967) with a term for what each further node adds, linear as in Gunther's law
(Guerrilla Capacity Planning, 2007, chapter 4). In-job models know more (ranks, classes of nodes, calls); the agent knows
whole iterations and numbers of nodes only.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from flexmpi.models.estimate import Estimate, Fit, Refusal, fit, typical

MINIMUM_SAMPLES = 3
KEPT_SAMPLES = 16
"""Of each size, the latest."""
KEPT_SIZES = 32
SKIPPED = 2
"""So many samples after a job's nodes have changed are not learnt from: the change itself may be in them."""
HALF_LIFE_S = 900.0
"""A sample that is so much older than the newest counts half as much."""

SHORTEST_S, LONGEST_S = 1e-9, 1e7
"""No iteration is believed to take less or more: jobs tell what they like, and the agent decides for all of them."""

SERIAL_PRIOR = 0.2
"""Before two sizes have been compared: the standard error of the part of an iteration that more nodes do not shorten."""
PER_NODE_PRIOR = 0.02
"""The same of what each further node adds, relative to the present time, times the present nodes."""


@dataclass(frozen=True)
class Measured:
    """One sampling interval: when the agent heard of it, and the mean seconds of its iterations."""

    at: float
    iteration_s: float


@dataclass(frozen=True)
class Samples:
    """What a job has measured, by the number of its nodes; bounded.

    Attributes
    ----------
    by_size
        The latest samples of each size, the size that was measured last last.
    nodes
        Those with ranks in the newest sample, learnt from or not.
    """

    by_size: Mapping[int, tuple[Measured, ...]] = field(default_factory=dict)
    nodes: frozenset[str] = frozenset()
    iteration: int | None = None
    _to_skip: int = 0

    @property
    def count(self) -> int:
        """How many samples are kept."""
        return sum(map(len, self.by_size.values()))

    @cached_property
    def forecast(self) -> Forecast | Refusal:
        """The model fitted to them; refused where they are too few, or too far apart for any model."""
        try:
            found = Forecast.fitted(self)
        except np.linalg.LinAlgError:
            return Refusal("its samples fit no model")
        return found if isinstance(found, Refusal) or found.is_sound else Refusal("its samples fit no model")

    def after(self, nodes: Collection[str], *, iteration: int, iteration_s: float, now: float) -> Samples:
        """Return them with one more.

        Parameters
        ----------
        nodes
            Those that had ranks.
        iteration
            The iterations completed; an interval that is told of twice counts once.
        """
        held = frozenset(nodes)
        to_skip = SKIPPED if held != self.nodes else self._to_skip
        if to_skip > 0 or iteration == self.iteration or not held or not SHORTEST_S <= iteration_s <= LONGEST_S:
            left = to_skip - (iteration != self.iteration)
            return replace(self, nodes=held, iteration=iteration, _to_skip=max(0, left))
        size = len(held)
        kept = (*self.by_size.get(size, ()), Measured(now, iteration_s))[-KEPT_SAMPLES:]
        others = [(other, its) for other, its in self.by_size.items() if other != size]
        return replace(self, by_size=dict([*others[-(KEPT_SIZES - 1) :], (size, kept)]), iteration=iteration)


@dataclass(frozen=True, eq=False)
class Forecast:
    """A fitted model of one job.

    Attributes
    ----------
    terms
        Of the features of `_features`, in seconds.
    reference
        The number of nodes that features are scaled by: those measured last.
    samples, sizes
        How many samples it rests on, and at which numbers of nodes.
    """

    terms: Fit
    reference: int
    samples: int
    sizes: tuple[int, ...]

    @classmethod
    def fitted(cls, samples: Samples) -> Forecast | Refusal:
        """Fit the model to what a job has measured; refused below `MINIMUM_SAMPLES`."""
        if samples.count < MINIMUM_SAMPLES:
            return Refusal(f"{samples.count} of {MINIMUM_SAMPLES} samples measured")
        newest = max(measured.at for its in samples.by_size.values() for measured in its)
        reference = list(samples.by_size)[-1]
        features, times, noise = [], [], []
        for size, its in samples.by_size.items():
            weights = [0.5 ** ((newest - measured.at) / HALF_LIFE_S) for measured in its]
            middle_s, error_s = typical([measured.iteration_s for measured in its], [max(w, 1e-9) for w in weights])
            features.append(_features(size, reference))
            times.append(middle_s)
            noise.append(max(error_s, 1e-12) / max(*weights, 1e-9) ** 0.5)
        here_s = times[-1]
        prior_error = [SERIAL_PRIOR * here_s, 10 * here_s, PER_NODE_PRIOR * here_s]
        terms = fit(features, times, noise=noise, prior=[0.0, here_s, 0.0], prior_error=prior_error)
        return cls(terms, reference, samples.count, tuple(sorted(samples.by_size)))

    @property
    def is_sound(self) -> bool:
        """Whether all its figures are finite, and time is spent at all."""
        finite = bool(np.isfinite(self.terms.coefficients).all() and np.isfinite(self.terms.covariance).all())
        return finite and bool(self.terms.coefficients.any())

    def iteration_s(self, nodes: int) -> Estimate:
        """Return the seconds an iteration takes on so many nodes."""
        return self.terms.at(_features(nodes, self.reference))

    def speed(self, nodes: int, *, minimum: int) -> float:
        """Return the speed relative to that on the job's fewest nodes."""
        return self.iteration_s(minimum).value / max(self.iteration_s(nodes).value, 1e-12)

    def fastest(self, *, minimum: int, maximum: int) -> int:
        """Return the number of nodes in a range on which an iteration is the shortest: the range's end, or near √(π/κ)."""
        between = [minimum, maximum]
        if self.per_node.value > 0:
            turn = math.isqrt(int(min(self.parallel.value / self.per_node.value, 1e12)))
            between += [min(max(size, minimum), maximum) for size in (turn, turn + 1)]
        return min(between, key=lambda size: self.iteration_s(size).value)

    @property
    def serial(self) -> Estimate:
        """The seconds of an iteration that do not depend on the nodes, σ."""
        return self.terms.at([1.0, 0.0, 0.0])

    @property
    def parallel(self) -> Estimate:
        """The seconds that the nodes share, π."""
        return self.terms.at([0.0, float(self.reference), 0.0])

    @property
    def per_node(self) -> Estimate:
        """The seconds that each further node adds, κ."""
        return self.terms.at([0.0, 0.0, 1.0 / self.reference])


def _features(nodes: int, reference: int) -> list[float]:
    return [1.0, reference / nodes, (nodes - 1) / reference]
