"""What a reconfiguration costs: until new ranks are ready (beside the computation), and how long the application then stalls.

Learnt from this job's own reconfigurations. Until there are enough, declared figures stand in and say so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from flexmpi.models.estimate import Estimate, Refusal, fit

MINIMUM_SAMPLES = 2
KEPT = 32


@dataclass(frozen=True)
class Resize:
    """What a reconfiguration does, as far as its cost depends on it.

    Attributes
    ----------
    started
        The most new ranks that start on one node; nodes start beside each other. Parked ranks need no start.
    joining, leaving
        Ranks that join and leave.
    size_bytes
        What moves between ranks, by the plan of the rows' overlaps.
    """

    started: int
    joining: int
    leaving: int
    size_bytes: int


@dataclass(frozen=True)
class MeasuredResize:
    """A reconfiguration that was carried out, in seconds; ``start_s`` is None where nobody started."""

    resize: Resize
    start_s: float | None
    join_s: float
    move_s: float
    part_s: float


@dataclass(frozen=True)
class ResizeCost:
    """What a reconfiguration will take.

    Attributes
    ----------
    start_s
        From the order until new ranks are ready; the application computes on.
    join_s, move_s, part_s
        The phases in which it does not.
    """

    start_s: Estimate
    join_s: Estimate
    move_s: Estimate
    part_s: Estimate

    @property
    def stall_s(self) -> Estimate:
        """How long the application does not compute."""
        return self.join_s + self.move_s + self.part_s


DECLARED = ResizeCost(
    start_s=Estimate(0.5, 0.5, "declared"),
    join_s=Estimate(0.02, 0.02, "declared"),
    move_s=Estimate(1e-9, 1e-9, "declared"),
    part_s=Estimate(0.01, 0.01, "declared"),
)
"""
Stands in for what is not learnt: ``move_s`` is for each byte, the others for a reconfiguration in which anybody starts, joins
or leaves.
"""


@dataclass(frozen=True)
class ReconfigurationCost:
    """Learns what reconfigurations take.

    Attributes
    ----------
    samples
        The latest ones, in order.
    declared
        Stands in where there are fewer than `MINIMUM_SAMPLES`.
    """

    samples: tuple[MeasuredResize, ...] = ()
    declared: ResizeCost = DECLARED

    def after(self, measured: MeasuredResize) -> ReconfigurationCost:
        """Return the model with one more sample."""
        return replace(self, samples=(*self.samples, measured)[-KEPT:])

    def predict(self, resize: Resize) -> ResizeCost:
        """Return what a reconfiguration will take; each phase is learnt where it can be, else declared.

        A phase takes ``a + b n``, with ``n`` the ranks that start on a node, that join, that leave, or the bytes that move;
        nothing where ``n`` is 0.
        """
        return ResizeCost(
            start_s=self._phase(lambda each: each.started, lambda each: each.start_s, resize, self.declared.start_s),
            join_s=self._phase(lambda each: each.joining, lambda each: each.join_s, resize, self.declared.join_s),
            move_s=self._phase(
                lambda each: each.size_bytes,
                lambda each: each.move_s,
                resize,
                self.declared.move_s.scaled(resize.size_bytes),
            ),
            part_s=self._phase(lambda each: each.leaving, lambda each: each.part_s, resize, self.declared.part_s),
        )

    def _phase(
        self,
        extent: Callable[[Resize], int],
        seconds: Callable[[MeasuredResize], float | None],
        resize: Resize,
        declared: Estimate,
    ) -> Estimate:
        if extent(resize) == 0:
            return Estimate(0.0, 0.0)
        known = [
            (float(extent(each.resize)), time_s)
            for each in self.samples
            if extent(each.resize) > 0 and (time_s := seconds(each)) is not None
        ]
        if len(known) < MINIMUM_SAMPLES:
            return declared
        return _affine(known, at=extent(resize))

    def learnt(self, resize: Resize) -> ResizeCost | Refusal:
        """Return what it will take where all of it has been learnt; refused where a phase has not."""
        cost = self.predict(resize)
        phases = {"starting": cost.start_s, "joining": cost.join_s, "moving": cost.move_s, "leaving": cost.part_s}
        if missing := [name for name, estimate in phases.items() if estimate.source == "declared"]:
            return Refusal(
                f"fewer than {MINIMUM_SAMPLES} reconfigurations of this job show what {', '.join(missing)} takes"
            )
        return cost


def _affine(known: Sequence[tuple[float, float]], *, at: float) -> Estimate:
    """Return ``a + b n`` fitted to (n, seconds) pairs; what they leave open is shared between a and b evenly.

    The error is that of one more measurement, so the spread of the measurements counts whole.
    """
    extents, times = np.array(known).T
    scale, typical_s = float(extents.mean()), float(max(times.mean(), 1e-9))
    features = np.column_stack([np.ones_like(extents), extents / scale])
    noise = np.full_like(times, 0.1 * typical_s)
    half = np.array([typical_s / 2, typical_s / 2])
    fitted = fit(features, times, noise=noise, prior=half, prior_error=2 * half)
    residuals = times - features @ fitted.coefficients
    spread_s = float(np.sqrt(residuals @ residuals / max(1, len(times) - 1)))
    there = fitted.at([1.0, at / scale])
    return replace(there, error=float(np.hypot(there.error, spread_s)))
