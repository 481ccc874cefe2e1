"""The ranks of a process set that have not said hello yet: which of them will not, for they have ended. Pure.

A rank that has said hello is missed as soon as its connection ends. Before, nobody but its ``mpiexec`` knows of it, and not every
``mpiexec`` says, or ends, when a rank dies while it starts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

LOOK_S = 0.25
"""How often to look for their processes."""
BEHIND_LIMIT_S = 3.0
"""How long after the first rank's the processes of the others on a node may come."""
FIRST_LIMIT_S = 60.0
"""How long after the start the first one may come."""


class StartingRanks:
    """The ranks of one process set on one node.

    Parameters
    ----------
    numbers
        Their numbers in their world.
    now
        When their start was ordered, on any clock.
    """

    def __init__(self, numbers: Iterable[int], now: float) -> None:
        self._silent = set(numbers)
        self._seen: set[int] = set()
        self._gone: set[int] = set()
        self._ended: set[int] = set()
        self._limit = now + FIRST_LIMIT_S
        self._any_seen = False

    @property
    def are_all_known(self) -> bool:
        """Whether nobody has to look for one any more."""
        return not self._silent

    def greeted(self, number: int, now: float) -> None:
        """A rank has said hello."""
        self._silent.discard(number)
        self._see(now)

    def ended(self, number: int) -> None:
        """A rank is known to have ended."""
        self._ended.add(number)

    def look(self, living: Mapping[int, int], now: float) -> list[int]:
        """Return which ranks have ended, or will not come, that had not been known to.

        Parameters
        ----------
        living
            The processes of ranks, by their numbers.
        """
        came = self._silent & living.keys()
        if came:
            self._see(now)
        self._seen |= came
        absent = self._silent - living.keys()
        # In the middle of an exec, as of a wrapper around Python, a process is not to be recognised.
        lost = absent & self._gone if now <= self._limit else absent & self._gone | absent - self._seen
        lost |= self._silent & self._ended
        self._gone = absent & self._seen
        self._silent -= lost
        return sorted(lost)

    def _see(self, now: float) -> None:
        if not self._any_seen:
            self._any_seen, self._limit = True, now + BEHIND_LIMIT_S
