"""What a rank measures in a sampling interval.

Clocks and counters are read at agreement points only; how far apart these are is in ``interval``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter, process_time

import numpy as np
import numpy.typing as npt

from flexmpi.runtime.communicator import Clock
from flexmpi.runtime.counters import Counters, Counts, counted_between

TIMES = ("real_s", "processor_s", "communication_s", "io_s")


@dataclass(frozen=True)
class Sample:
    """What one rank measured in one sampling interval; every time in seconds.

    Attributes
    ----------
    counts
        How often each hardware event that is followed has happened; None for one that is not counted.
    """

    real_s: float
    processor_s: float
    communication_s: float
    io_s: float
    counts: Counts = ()

    def as_array(self) -> npt.NDArray[np.float64]:
        """Return the times, then the counts, with NaN for those that are missing.

        A count is exact up to 2**53: at 10**10 events a second an interval may last for ten days.
        """
        counts = [np.nan if count is None else count for count in self.counts]
        return np.array([self.real_s, self.processor_s, self.communication_s, self.io_s, *counts])


def as_columns(samples: npt.NDArray[np.float64], events: Sequence[str]) -> dict[str, object]:
    """Return the figures of all ranks by their names.

    Parameters
    ----------
    samples
        A row for each rank, as `Sample.as_array` makes it, shape (ranks, 4 + events).
    events
        What was counted.

    Returns
    -------
    dict
        A list of one number a rank for each time, and ``counters``: such a list for each event, with None for what is missing.
    """
    times, counts = samples.T[: len(TIMES)], samples.T[len(TIMES) :]
    counters = {
        event: [None if np.isnan(count) else int(count) for count in of_ranks]
        for event, of_ranks in zip(events, counts, strict=True)
    }
    return {**dict(zip(TIMES, times.tolist(), strict=True)), "counters": counters}


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
        """Begin an interval now."""
        self._start, self._counts = self._read(), self._counters.read()

    def take(self) -> Sample:
        """Return what was measured since the interval began."""
        counts = counted_between(self._counts, self._counters.read())
        real_s, processor_s, communication_s, io_s = (
            now - then for now, then in zip(self._read(), self._start, strict=True)
        )
        return Sample(real_s, processor_s, communication_s, io_s, counts)

    def _read(self) -> tuple[float, float, float, float]:
        return perf_counter(), process_time(), self._clock.communication_s, self._clock.io_s
