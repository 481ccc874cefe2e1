"""What was measured of a job: by its ranks in a sampling interval, by a machine's meters in a period. Plain frozen data.

What is missing is None, never 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TypeVar

Figure = TypeVar("Figure", int, float)

ALL_OPERATIONS = "PAPI_FP_OPS"
OPERATIONS_BY_PRECISION = ("PAPI_SP_OPS", "PAPI_DP_OPS")
"""Floating point operations are what PAPI calls so; nothing else, such as instructions, stands in for them."""


@dataclass(frozen=True)
class IntervalReport:
    """What all ranks measured in one sampling interval; one entry for each rank, in seconds.

    Attributes
    ----------
    iteration
        The iterations completed so far in this loop.
    iterations
        How many of them lie in the interval.
    next_at
        The iteration of the next agreement point.
    load
        What each rank computed with: rows, or a share of the cost.
    weights
        By which the load is shared.
    operations
        For each class of MPI calls, and each rank, three figures: calls and their bytes in the interval's first iteration, and
        seconds in the whole interval.
    counters
        How often each hardware event that is followed has happened, on each rank; None on a rank that does not count it.
    whole_rows
        The load is in rows.
    """

    iteration: int
    iterations: int
    next_at: int
    load: Sequence[float]
    weights: Sequence[float]
    real_s: Sequence[float]
    processor_s: Sequence[float]
    communication_s: Sequence[float]
    io_s: Sequence[float]
    operations: Mapping[str, Sequence[Sequence[float]]] = field(default_factory=dict)
    counters: Mapping[str, Sequence[int | None]] = field(default_factory=dict)
    whole_rows: bool = True

    @property
    def flops_events(self) -> tuple[str, ...]:
        """The events by which floating point operations are counted: one for all of them, or those of each precision.

        One that no rank counts is none of them.
        """
        counted = [event for event, of_ranks in self.counters.items() if any(count is not None for count in of_ranks)]
        if ALL_OPERATIONS in counted:
            return (ALL_OPERATIONS,)
        return tuple(event for event in OPERATIONS_BY_PRECISION if event in counted)

    @property
    def flops(self) -> list[int | None]:
        """The floating point operations of each rank; None where they are not counted."""
        columns = [self.counters[event] for event in self.flops_events]
        return [sum_of(of_rank) for of_rank in zip(*columns, strict=True)] or [None] * self.size

    def mflops(self, flops: int | None) -> float | None:
        """Return millions of operations a second of rank 0's real time, as FlexMPI counts them; None where there are none."""
        return None if flops is None or self.real_s[0] <= 0 else flops / self.real_s[0] / 1e6

    @property
    def totals(self) -> dict[str, int | None]:
        """Each hardware event, over all ranks; None where a rank does not count it."""
        return {event: sum_of(of_ranks) for event, of_ranks in self.counters.items()}

    @property
    def busy_s(self) -> list[float]:
        """How long each rank computed."""
        times = zip(self.real_s, self.communication_s, self.io_s, strict=True)
        return [max(0.0, real - communication - io) for real, communication, io in times]

    def busy_cores(self, ranks: Iterable[int]) -> float:
        """Return how many cores' worth of processor time some ranks spent."""
        return sum(self.processor_s[rank] for rank in ranks) / max(fmean(self.real_s), 1e-9)

    @property
    def size(self) -> int:
        """The number of ranks."""
        return len(self.real_s)


@dataclass(frozen=True)
class EnergyReading:
    """What one machine has spent in a period.

    Attributes
    ----------
    nodes
        The job's nodes that this machine is: several where they are virtual.
    seconds
        How long the period was; None where the machine did not say.
    joules
        By source, such as ``rapl:package-0`` or ``rapl:package-0/dram``; None where a meter could not be read.
    missing
        Why, for sources without joules.
    """

    nodes: tuple[str, ...]
    seconds: float | None
    joules: Mapping[str, float | None]
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def total_j(self) -> float | None:
        """The joules of processors and memory; None where one of them is missing."""
        counted = [spent for source, spent in self.joules.items() if adds_up(source)]
        return sum_of(counted)


def adds_up(source: str) -> bool:
    """Tell whether a meter counts into a machine's total: a processor package and its memory do.

    A package's cores and graphics are in the package already, and all of it is in ``psys``, the platform.
    """
    package, _, part = source.removeprefix("rapl:").partition("/")
    return package.startswith("package") and part in ("", "dram")


def sum_of(figures: Iterable[Figure | None]) -> Figure | None:
    """Return a sum; None where a part of it is missing, or there is none."""
    parts = list(figures)
    known = [part for part in parts if part is not None]
    return sum(known) if known and len(known) == len(parts) else None
