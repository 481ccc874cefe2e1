"""What models learn from: sampling intervals, as the ranks that held the others up saw them, kept for each layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flexmpi.models.estimate import Refusal, typical
from flexmpi.models.layout import Layout, grouped

UNCLASSIFIED = "unclassified"
"""The operation class of communication of which only the time is known."""

KEPT_INTERVALS = 8
KEPT_LAYOUTS = 32
SIGNIFICANT = 3.0
"""A difference of so many standard errors is none by chance."""

MINIMUM_INTERVALS = 3
"""So many intervals must have been measured in the present layout before anything is predicted."""


@dataclass(frozen=True)
class Operation:
    """The calls of one class that a rank makes in an iteration: how many, with how many bytes, in how many seconds."""

    calls: float
    size_bytes: float
    seconds: float


@dataclass(frozen=True)
class Observation:
    """One sampling interval; all figures are for one iteration.

    A group is spoken for by its ranks with the most rows, for the others wait for them.

    Attributes
    ----------
    layout
        Where the ranks were.
    iterations
        How many the interval had.
    rows
        How many whole rows were shared; None where their number is not what is shared.
    shares, busy_s
        For each group of the layout: the part of all rows that a rank held, and the seconds it computed.
    operations
        What the group that computed the longest communicated, by class (`communication.CLASSES`).
    io_s
        Seconds of I/O on a rank of that group.
    processor_share
        Mean processor time of all ranks over their real time.
    """

    layout: Layout
    iterations: int
    rows: int | None
    shares: tuple[float, ...]
    busy_s: tuple[float, ...]
    operations: Mapping[str, Operation]
    io_s: float
    processor_share: float

    @property
    def computation_s(self) -> float:
        """Seconds of computing that an iteration takes."""
        return max(self.busy_s)

    @property
    def communication_s(self) -> float:
        """Seconds of communicating that an iteration takes."""
        return sum(operation.seconds for operation in self.operations.values())

    @property
    def iteration_s(self) -> float:
        """Seconds that an iteration takes."""
        return self.computation_s + self.communication_s + self.io_s

    def scaled(self, factor: float) -> Observation:
        """Return it as if every iteration had computed so many times as long."""
        return replace(self, busy_s=tuple(busy_s * factor for busy_s in self.busy_s))

    @classmethod
    def of_interval(
        cls,
        *,
        nodes: Sequence[str],
        classes: Sequence[str],
        weights: Sequence[float],
        load: ArrayLike,
        iterations: int,
        real_s: ArrayLike,
        processor_s: ArrayLike,
        communication_s: ArrayLike,
        io_s: ArrayLike,
        whole_rows: bool = True,
        operations: Mapping[str, ArrayLike] | None = None,
    ) -> Observation:
        """Sum up what all ranks measured.

        Parameters
        ----------
        nodes, classes, weights
            Of each rank: its node, the node's class, and the weight by which it is given rows; ``ranks`` entries each.
        load
            What each computed with, shape ``(ranks,)``: rows, or its share of rows that differ in cost.
        iterations
            How many the interval had.
        real_s, processor_s, communication_s, io_s
            Seconds of the interval on each rank, shape ``(ranks,)``.
        whole_rows
            ``load`` is in rows.
        operations
            For each class of calls an array of shape ``(ranks, 3)``: calls and bytes of one iteration, seconds of the
            interval. What is missing of ``communication_s`` is unclassified.
        """
        loads, real, io = np.asarray(load, dtype=float), np.asarray(real_s, dtype=float), np.asarray(io_s, dtype=float)
        communicating = np.asarray(communication_s, dtype=float)
        busy = np.maximum(0.0, real - communicating - io)
        speakers = [(group, _fullest(ranks, loads)) for group, ranks in grouped(nodes, classes, weights)]
        slowest = max((ranks for _, ranks in speakers), key=lambda ranks: float(busy[ranks].mean()))
        total = float(loads.sum()) or 1.0  # of arrays without rows
        return cls(
            layout=Layout(tuple(group for group, _ in speakers)),
            iterations=iterations,
            rows=int(total) if whole_rows else None,
            shares=tuple(float(loads[ranks].mean()) / total for _, ranks in speakers),
            busy_s=tuple(float(busy[ranks].mean()) / iterations for _, ranks in speakers),
            operations=_operations(operations or {}, communicating, slowest, iterations),
            io_s=float(io[slowest].mean()) / iterations,
            processor_share=float(np.asarray(processor_s, dtype=float).sum() / max(real.sum(), 1e-12)),
        )


def _fullest(ranks: list[int], loads: NDArray[np.float64]) -> list[int]:
    """Return the ranks of a group with the most rows, where they differ by the row that could not be divided; else all."""
    here = loads[ranks]
    if not 0 < np.ptp(here) < 1.5:
        return ranks
    return [rank for rank, rows in zip(ranks, here, strict=True) if rows > here.max() - 0.5]


def _operations(
    measured: Mapping[str, ArrayLike], communicating: NDArray[np.float64], ranks: list[int], iterations: int
) -> dict[str, Operation]:
    means = {name: np.asarray(table, dtype=float)[ranks].mean(axis=0) for name, table in measured.items()}
    known = {
        name: Operation(float(calls), float(size_bytes), float(seconds) / iterations)
        for name, (calls, size_bytes, seconds) in means.items()
        if calls or seconds
    }
    rest_s = float(communicating[ranks].mean()) / iterations - sum(each.seconds for each in known.values())
    return known if rest_s < 1e-9 else {**known, UNCLASSIFIED: Operation(1.0, 0.0, rest_s)}


@dataclass(frozen=True)
class History:
    """The latest intervals of each layout the job has had, the present one last.

    Attributes
    ----------
    seen
        Intervals by layout, in the order in which the layouts were left.
    present
        The layout of the latest interval.
    entry
        The first intervals since it came into force, without the very first.
    """

    seen: Mapping[Layout, tuple[Observation, ...]] = field(default_factory=dict)
    present: Layout | None = None
    entry: tuple[Observation, ...] = ()

    def after(self, latest: Observation) -> History:
        """Return the history with one more interval; the first one in a layout warms caches up and is left out."""
        if latest.layout != self.present:
            return replace(self, seen=self.as_of_now(), present=latest.layout, entry=())
        entry = (*self.entry, latest)[:MINIMUM_INTERVALS]
        earlier = self.seen.get(latest.layout, ())
        others = {layout: kept for layout, kept in self.seen.items() if layout != latest.layout}
        while len(others) >= KEPT_LAYOUTS:
            del others[next(iter(others))]
        return replace(self, seen={**others, latest.layout: (*earlier, latest)[-KEPT_INTERVALS:]}, entry=entry)

    def as_of_now(self) -> Mapping[Layout, tuple[Observation, ...]]:
        """Return what was seen, as it would be now where iterations have become longer or shorter since.

        What other layouts took is scaled by how the computing time in the present one has changed since the first intervals
        in it, if that is more than noise.
        """
        here = () if self.present is None else self.seen.get(self.present, ())
        if len(here) < KEPT_INTERVALS or len(self.entry) < MINIMUM_INTERVALS:
            return self.seen
        (before_s, error_s), (now_s, error_now_s) = (
            typical([each.computation_s for each in some], [each.iterations for each in some])
            for some in (self.entry, here[-MINIMUM_INTERVALS:])
        )
        if abs(now_s - before_s) <= SIGNIFICANT * (error_s + error_now_s) or min(now_s, before_s) <= 0:
            return self.seen
        return {
            layout: known if layout == self.present else tuple(each.scaled(now_s / before_s) for each in known)
            for layout, known in self.seen.items()
        }

    @property
    def latest(self) -> Observation | None:
        """The latest interval in the present layout; None if there is none yet."""
        here = () if self.present is None else self.seen.get(self.present, ())
        return here[-1] if here else None

    @property
    def too_few(self) -> Refusal | None:
        """Why nothing can be predicted yet, if it cannot."""
        here = 0 if self.present is None else len(self.seen.get(self.present, ()))
        if here >= MINIMUM_INTERVALS:
            return None
        return Refusal(f"{here} of {MINIMUM_INTERVALS} sampling intervals measured since the ranks last changed")

    def typical(self, layout: Layout, figure: Callable[[Observation], float]) -> tuple[float, float]:
        """Return a figure's typical value in a layout and its standard error; longer intervals count more."""
        known = self.seen[layout]
        return typical([figure(each) for each in known], [each.iterations for each in known])
