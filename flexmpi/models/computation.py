"""Seconds of computing in an iteration, against ranks, nodes, their speeds and their rows.

The time of a rank is ``t = σ + ω x + κ x (k - 1)`` with ``x`` its part of the rows over its speed, and ``k`` the ranks on
its node: Amdahl's law (AFIPS 1967) for ranks of unlike speeds, with a term for what ranks on a node share (memory
bandwidth), linear as contention is in Gunther's law (Guerrilla Capacity Planning, 2007, chapter 4). An iteration takes as
long as its slowest rank.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from flexmpi.models.estimate import Estimate, Fit, Refusal, fit
from flexmpi.models.layout import Layout
from flexmpi.models.observation import History, Observation

SERIAL_PRIOR = 0.2
"""Before two layouts have been compared: the standard error of the part of the present time that more ranks do not shorten."""

CONTENTION_PRIOR = 0.1
"""The same of what each further rank on a node adds, relative to the time without it."""

_ROUNDS = 3


@dataclass(frozen=True, eq=False)
class Computation:
    """How long iterations compute, fitted to a job's history.

    Attributes
    ----------
    history
        What the job has measured.
    speeds
        The speed of a rank on each class of nodes the job has used, in the units of the weights.
    terms
        The fit of σ, ω and κ, in seconds where ``x`` is scaled by `speed_scale`.
    speed_scale
        The mean weight of the present ranks, so that ``x`` is a pure number.
    """

    history: History
    speeds: Mapping[str, float]
    terms: Fit
    speed_scale: float

    @classmethod
    def fitted(cls, history: History) -> Computation | Refusal:
        """Fit the model; refused before the present layout has been measured for `MINIMUM_INTERVALS`."""
        present = history.present
        if history.too_few is not None or present is None:
            return history.too_few or Refusal("no sampling interval measured")
        history = replace(history, seen=history.as_of_now())
        scale = present.power / present.ranks
        speeds, terms = _speeds(history, serial_s=0.0), None
        for _ in range(_ROUNDS):
            terms = _terms(history, speeds, scale)
            speeds = _speeds(history, serial_s=float(terms.coefficients[0]))
        assert terms is not None
        return cls(history, speeds, terms, scale)

    def predict(self, layout: Layout) -> Estimate:
        """Return the seconds that an iteration computes in some layout.

        The fit gives the ratio to the present layout's time, and what the present layout takes now is measured; so a
        program whose iterations become longer is followed.
        """
        there = self._fitted(layout)
        return Estimate(there.value * self._level[0], float(np.hypot(there.error, there.value * self._level[1])))

    @cached_property
    def _level(self) -> tuple[float, float]:
        """How much longer the present layout computes than the fit has it, and the standard error of that."""
        assert self.history.present is not None
        measured_s, error_s = self.history.typical(self.history.present, lambda each: each.computation_s)
        here_s = self._fitted(self.history.present).value
        return (measured_s / here_s, error_s / here_s) if here_s > 0 else (1.0, 0.0)

    def _fitted(self, layout: Layout) -> Estimate:
        latest = self.history.latest
        shares = layout.largest_shares(None if latest is None else latest.rows)
        times = [
            self.terms.at(
                _features(
                    share * self.speed_scale / self.speed_of(group.node_class, group.weight), group.ranks_per_node
                )
            )
            for group, share in zip(layout.groups, shares, strict=True)
        ]
        return max(times, key=lambda time: time.value)

    def speed_of(self, node_class: str, weight: float) -> float:
        """Return the speed of a rank on a class of nodes; of one the job has not used, by its weight."""
        return self.speeds.get(node_class, weight * self._scale_of_weights)

    @cached_property
    def _scale_of_weights(self) -> float:
        """How speeds compare with the weights of the present ranks, for classes the job has not used."""
        assert self.history.present is not None
        present = self.history.present
        return sum(group.ranks * self.speeds[group.node_class] for group in present.groups) / present.power


def _features(scaled_share: float, ranks_per_node: int) -> list[float]:
    return [1.0, scaled_share, scaled_share * (ranks_per_node - 1)]


def _terms(history: History, speeds: Mapping[str, float], scale: float) -> Fit:
    features, times, noise = [], [], []
    for layout, intervals in history.seen.items():
        for number, group in enumerate(layout.groups):
            busy_s, error_s = history.typical(layout, lambda each: each.busy_s[number])  # noqa: B023 - called at once
            share = intervals[-1].shares[number] * scale / speeds[group.node_class]
            features.append(_features(share, group.ranks_per_node))
            times.append(busy_s)
            noise.append(max(error_s, 1e-12))
    # The present layout comes last; without other knowledge all of its time is shared among its ranks.
    here_s = max(times[-1], 1e-12)
    whole_s = here_s / max(features[-1][1], 1e-9)
    prior_error = [SERIAL_PRIOR * here_s, 10 * whole_s, CONTENTION_PRIOR * whole_s]
    return fit(features, times, noise=noise, prior=[0.0, whole_s, 0.0], prior_error=prior_error)


def _speeds(history: History, *, serial_s: float) -> dict[str, float]:
    """Return the speed of each class: the part of the rows its ranks got through in a second, in the units of the weights."""
    rates: dict[str, list[float]] = {}
    weights: dict[str, float] = {}
    for layout, intervals in history.seen.items():
        for number, group in enumerate(layout.groups):
            weights[group.node_class] = group.weight
            rates.setdefault(group.node_class, []).extend(_rates(intervals, number, serial_s))
    known = {node_class: float(np.median(each)) for node_class, each in rates.items() if each}
    if not known:
        return weights
    units = sum(weights[node_class] for node_class in known) / sum(known.values())
    return {
        node_class: known[node_class] * units if node_class in known else weights[node_class] for node_class in rates
    }


def _rates(intervals: tuple[Observation, ...], group: int, serial_s: float) -> list[float]:
    """Return the part of all rows a second that a rank of a group got through in each interval."""
    parallel_s = [(each.shares[group], each.busy_s[group] - serial_s) for each in intervals]
    return [share / busy_s for share, busy_s in parallel_s if share > 0 and busy_s > max(0.1 * serial_s, 0.0)]
