"""Sampling intervals: how many iterations lie between two agreement points, and what a rank measured in one.

Clocks and counters are read at agreement points only; choosing the next interval is a pure function.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter, process_time
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from flexmpi.errors import ConfigurationError
from flexmpi.runtime.counters import Counters, Counts, counted_between

if TYPE_CHECKING:
    # The supervisor reads intervals too, and must not become an MPI process by an import.
    from flexmpi.runtime.communicator import Clock

DEFAULT_INTERVAL_S = 0.5
LARGEST_GROWTH = 4
"""An interval is at most so many times the one before, so that a first fast iteration cannot put the next agreement far off."""


@dataclass(frozen=True)
class Interval:
    """What the user asked for: a number of iterations, or seconds.

    Attributes
    ----------
    iterations
        Agreement points at the multiples of this iteration number; None to go by time.
    seconds
        The time between two agreement points otherwise.
    """

    iterations: int | None = None
    seconds: float = DEFAULT_INTERVAL_S

    @classmethod
    def parse(cls, text: str) -> Interval:
        """Read ``100`` (iterations) or ``0.5s`` (seconds).

        Raises
        ------
        ConfigurationError
            It is neither, or not positive.
        """
        if re.fullmatch(r"[0-9]+", text) and int(text) > 0:
            return cls(iterations=int(text))
        if re.fullmatch(r"([0-9]+\.?[0-9]*|\.[0-9]+)s", text) and float(text[:-1]) > 0:
            return cls(seconds=float(text[:-1]))
        raise ConfigurationError(f"the interval must be iterations (100) or seconds (0.5s), got {text!r}")

    def next_length(self, iteration: int, *, previous: int, iteration_s: float | None) -> int:
        """Return how many iterations lie between ``iteration`` and the next agreement point.

        Parameters
        ----------
        iteration
            The number of the iteration about to start.
        previous
            The length of the interval that ended.
        iteration_s
            The mean time of an iteration in it, on the slowest rank; None when there was none yet.
        """
        if self.iterations is not None:
            return self.iterations - iteration % self.iterations
        if iteration_s is None:
            return 1
        wanted = self.seconds / max(iteration_s, 1e-9)
        return int(max(1, min(wanted, LARGEST_GROWTH * previous)))


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
