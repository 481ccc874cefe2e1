"""The question and its answer: jobs, the sizes each may have, what all of them together may use. Plain frozen data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

IMPOSSIBLE = -np.inf
TOLERANCE = 1e-12
"""Relative. A sum of watts in another order may differ by so much; whole nodes add up exactly."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One size that a job may have.

    Attributes
    ----------
    nodes
        Its nodes of each class, in the order of `Instance.nodes`.
    value
        What it is worth, in any unit, the same for all jobs; more is better, and it may be negative.
    power_w
        Watts of its nodes; not looked at where there is no power cap.
    """

    nodes: tuple[int, ...]
    value: float
    power_w: float = 0.0


@dataclass(frozen=True, eq=False)
class Instance:
    """Choose one size for each job so that their values add up to the most, within what there is.

    Attributes
    ----------
    jobs
        The choices of each job, one at least. A job's range is what its choices are: it gets one of them.
    nodes
        How many nodes of each class there are.
    power_w
        What all chosen sizes together may draw, in watts; None without a cap.

    Raises
    ------
    ValueError
        A job without a choice, a choice with other classes than there are, or a figure that is negative or not finite.
    """

    jobs: Sequence[Sequence[Choice]]
    nodes: tuple[int, ...]
    power_w: float | None = None

    def __post_init__(self) -> None:
        if any(count < 0 for count in self.nodes) or not (self.power_w is None or 0 <= self.power_w < np.inf):
            raise ValueError(f"limits must be finite and not negative, got {self.nodes} nodes and {self.power_w} W")
        for number, choices in enumerate(self.jobs):
            if not choices:
                raise ValueError(f"job {number} has no choice, expected one at least")
            if any(len(choice.nodes) != len(self.nodes) for choice in choices):
                raise ValueError(f"job {number} has a choice of other than {len(self.nodes)} classes of nodes")
        table = self.table
        if not (np.isfinite(table.values[table.offered]).all() and np.isfinite(table.usage).all()):
            raise ValueError("values, nodes and watts must be finite")
        if (table.usage < 0).any():
            raise ValueError("nodes and watts of a choice must not be negative")

    @cached_property
    def table(self) -> Table:
        """The same as arrays."""
        sizes = [len(choices) for choices in self.jobs]
        shape = (len(sizes), max(sizes, default=1))
        offered = np.arange(shape[1]) < np.asarray(sizes, dtype=np.int64)[:, None]
        values = np.full(shape, IMPOSSIBLE)
        values[offered] = [choice.value for choices in self.jobs for choice in choices]
        capacity = [float(count) for count in self.nodes]
        usage = np.zeros((len(capacity) + (self.power_w is not None), *shape))
        by_class = np.array([choice.nodes for choices in self.jobs for choice in choices], dtype=float)
        usage[: len(capacity), offered] = by_class.reshape(-1, len(capacity)).T
        if self.power_w is not None:
            usage[-1, offered] = [choice.power_w for choices in self.jobs for choice in choices]
            capacity.append(self.power_w)
        return Table(values, usage, np.array(capacity), offered)

    def limit_names(self) -> list[str]:
        """Name what is limited, in the order of `Table.capacity`."""
        classes = [f"nodes of class {number}" for number in range(len(self.nodes))]
        names = ["nodes"] if len(classes) == 1 else classes
        return names + ["watts"] * (self.power_w is not None)


@dataclass(frozen=True, eq=False)
class Table:
    """An instance as arrays; what a job does not offer fills its row up.

    Attributes
    ----------
    values
        Shape ``(jobs, sizes)``; minus infinity where nothing is offered.
    usage
        Shape ``(limits, jobs, sizes)``: nodes of each class, and watts last where there is a cap.
    capacity
        Shape ``(limits,)``.
    offered
        Shape ``(jobs, sizes)``.
    """

    values: NDArray[np.float64]
    usage: NDArray[np.float64]
    capacity: NDArray[np.float64]
    offered: NDArray[np.bool_]

    @cached_property
    def span(self) -> float:
        """The range of all values; 1 where they are all the same."""
        offered = self.values[self.offered]
        return float(offered.max() - offered.min()) or 1.0

    @cached_property
    def divisors(self) -> NDArray[np.float64]:
        """The capacity, and 1 in place of 0."""
        return np.where(self.capacity > 0, self.capacity, 1.0)

    def without_impossible(self) -> Table:
        """Return the table without the choices that exceed a limit by themselves."""
        offered = self.offered & (self.usage <= self.capacity[:, None, None] * (1 + TOLERANCE)).all(axis=0)
        return Table(np.where(offered, self.values, IMPOSSIBLE), self.usage, self.capacity, offered)

    def used(self, chosen: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return what a choice for each job, shape ``(jobs,)``, uses of each limit, shape ``(limits,)``."""
        total: NDArray[np.float64] = self.usage[:, np.arange(len(chosen)), chosen].sum(axis=1)
        return total

    def worth(self, chosen: NDArray[np.int64]) -> float:
        """Return the sum of values of a choice for each job, shape ``(jobs,)``."""
        return float(self.values[np.arange(len(chosen)), chosen].sum())

    def fits(self, chosen: NDArray[np.int64]) -> bool:
        """Whether no limit is exceeded; rounding errors of sums of watts do not count."""
        return bool((self.used(chosen) <= self.capacity * (1 + TOLERANCE)).all())


Method = Literal["exact", "greedy", "exact, stopped"]


@dataclass(frozen=True, kw_only=True)
class Solution:
    """A size for each job.

    Attributes
    ----------
    chosen
        For each job the number of its choice.
    value
        The sum of their values.
    bound
        No sizes within the limits have a larger sum.
    bound_is
        What shows that: it is the ``optimum`` itself, or that of the ``linear relaxation``, where a job may have parts of
        several sizes.
    relaxed
        The optimum of the linear relaxation, nearly and never below it, also where the solution is exact.
    method
        ``exact``, ``greedy``, or ``exact, stopped`` for the best that was found until the time was over.
    nodes, power_w
        What is used; watts are None where they are not limited.
    """

    chosen: tuple[int, ...]
    value: float = 0.0
    bound: float = 0.0
    bound_is: Literal["optimum", "linear relaxation"] = "optimum"
    relaxed: float = 0.0
    method: Method = "exact"
    nodes: tuple[int, ...]
    power_w: float | None = None

    @property
    def gap(self) -> float:
        """How far the value may be from the best there is, relative to the bound; 0 is proven best."""
        distance = max(0.0, self.bound - self.value)
        return distance / abs(self.bound) if self.bound else float(distance > 0)


@dataclass(frozen=True)
class Infeasible:
    """No choice of sizes keeps to all limits, or none was found.

    Attributes
    ----------
    why
        In words for a person, with the limit and what is missing.
    proven
        There is none. Otherwise the search, which is not complete where limits work against each other, found none.
    """

    why: str
    proven: bool
