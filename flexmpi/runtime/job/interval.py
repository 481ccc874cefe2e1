"""Sampling intervals: how many iterations lie between two agreement points.

Pure, and without numpy or MPI: `flexmpi run` reads what its user asked for here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from flexmpi.errors import ConfigurationError
from flexmpi.numerals import LONGEST, whole_number

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
        if iterations := whole_number(text, longest=LONGEST):
            return cls(iterations=iterations)
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
