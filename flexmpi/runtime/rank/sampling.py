"""What a rank measures in a sampling interval.

Clocks and counters are read at agreement points only; how far apart these are is in ``interval``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter, process_time

import numpy as np
import numpy.typing as npt

from flexmpi.runtime.communication.calls import CLASS_NAMES, Clock
from flexmpi.runtime.machine.counters import Counters, Counts, counted_between

TIMES = ("real_s", "processor_s", "communication_s", "io_s")
OF_A_CLASS = 3
"""Figures of each class of MPI calls: calls and bytes in the interval's first iteration, seconds in the interval."""


NO_OPERATIONS = ((0.0, 0.0, 0.0),) * len(CLASS_NAMES)


@dataclass(frozen=True)
class Sample:
    """What one rank measured in one sampling interval; every time in seconds.

    Attributes
    ----------
    operations
        For each class of MPI calls, in the order of `calls.CLASS_NAMES`, the `OF_A_CLASS` figures.
    counts
        How often each hardware event that is followed has happened; None for one that is not counted.
    """

    real_s: float
    processor_s: float
    communication_s: float
    io_s: float
    operations: tuple[tuple[float, float, float], ...] = NO_OPERATIONS
    counts: Counts = ()

    def as_array(self) -> npt.NDArray[np.float64]:
        """Return the times, the figures of the operations, then the counts, with NaN for those that are missing.

        A count is exact up to 2**53: at 10**10 events a second an interval may last for ten days.
        """
        counts = [np.nan if count is None else count for count in self.counts]
        operations = (figure for figures in self.operations for figure in figures)
        return np.array([self.real_s, self.processor_s, self.communication_s, self.io_s, *operations, *counts])


def as_columns(samples: npt.NDArray[np.float64], events: Sequence[str]) -> dict[str, object]:
    """Return the figures of all ranks by their names.

    Parameters
    ----------
    samples
        A row for each rank, as `Sample.as_array` makes it, shape (ranks, 4 + figures of operations + events).
    events
        What was counted.

    Returns
    -------
    dict
        A list of one number a rank for each time; ``operations``: for each class of calls there were, a list of calls, bytes and
        seconds for each rank; and ``counters``: a list of one number a rank for each event, with None for what is missing.
    """
    times, rest = samples.T[: len(TIMES)], samples.T[len(TIMES) :]
    figures, counts = np.split(rest, [len(NO_OPERATIONS) * OF_A_CLASS])
    classes = figures.reshape(len(NO_OPERATIONS), OF_A_CLASS, -1)
    operations = {
        name: of_class.T.tolist() for name, of_class in zip(CLASS_NAMES, classes, strict=True) if of_class.any()
    }
    counters = {
        event: [None if np.isnan(count) else int(count) for count in of_ranks]
        for event, of_ranks in zip(events, counts, strict=True)
    }
    return {**dict(zip(TIMES, times.tolist(), strict=True)), "operations": operations, "counters": counters}


class Sampler:
    """Reads this rank's clocks and hardware counters at the agreement points.

    Parameters
    ----------
    clock
        Where the timed communicator and ``Session.io`` add up their time.
    events
        The hardware events to count.
    """

    def __init__(self, clock: Clock, events: Sequence[str] = ()) -> None:
        self._clock = clock
        self._counters = Counters(events)
        self.restart()

    @property
    def events(self) -> tuple[str, ...]:
        """The hardware events that are followed."""
        return self._counters.events

    def follow(self, events: Sequence[str]) -> None:
        """Count other hardware events from now on; a new interval begins."""
        self._counters.close()
        self._counters = Counters(events)
        self.restart()

    @property
    def refused(self) -> dict[str, str]:
        """Why, for each event that this rank does not count."""
        return self._counters.refused

    def restart(self) -> None:
        """Begin an interval now; calls are counted until the clock's `looking` is switched off."""
        self._clock.look()
        self._seconds = tuple(self._clock.seconds)
        self._start, self._counts = self._read(), self._counters.read()

    def take(self) -> Sample:
        """Return what was measured since the interval began."""
        counts = counted_between(self._counts, self._counters.read())
        real_s, processor_s, communication_s, io_s = (
            now - then for now, then in zip(self._read(), self._start, strict=True)
        )
        seconds = (now - then for now, then in zip(self._clock.seconds, self._seconds, strict=True))
        operations = tuple(zip(self._clock.calls, self._clock.sizes_bytes, seconds, strict=True))
        return Sample(real_s, processor_s, communication_s, io_s, operations, counts)

    def _read(self) -> tuple[float, float, float, float]:
        return perf_counter(), process_time(), self._clock.communication_s, self._clock.io_s
