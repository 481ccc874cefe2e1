"""Which class an MPI call is of, what it moves, and where its time adds up.

The classes are those that depend on the number of ranks each in its own way; the models learn from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

CLASS_NAMES = ("point-to-point", "broadcast", "reduction", "gathering", "all-to-all", "barrier")

_COLLECTIVES = {
    "broadcast": ("bcast",),
    "reduction": ("reduce", "allreduce", "reduce_scatter", "reduce_scatter_block", "scan", "exscan"),
    "gathering": ("gather", "gatherv", "scatter", "scatterv", "allgather", "allgatherv"),
    "all-to-all": ("alltoall", "alltoallv", "alltoallw"),
    "barrier": ("barrier",),
}
_CLASS_OF = {call: CLASS_NAMES.index(name) for name, calls in _COLLECTIVES.items() for call in calls}


def class_of(call: str) -> int:
    """Return the number of a call's class, whatever its capitals and whether it is nonblocking (``Iallreduce``)."""
    name = call.lower()
    return _CLASS_OF.get(name, _CLASS_OF.get(name.removeprefix("i"), 0))


def size_bytes(arguments: Iterable[object]) -> int:
    """Return the bytes of a call's largest buffer, 0 where it has none that says its size (as pickled objects do not).

    In a gather or a scatter that is the whole, at one rank at least; in an alltoall a rank's part.
    """
    largest = 0
    for argument in arguments:
        # A buffer may come with counts and a datatype: [buffer, counts, type].
        buffer = argument[0] if isinstance(argument, list | tuple) and argument else argument
        size = getattr(buffer, "nbytes", 0)
        largest = max(largest, size) if isinstance(size, int) else largest
    return largest


class Clock:
    """What this rank has spent in communication and in I/O since it started, in seconds, and what its calls were.

    Attributes
    ----------
    seconds
        In calls of each class, in the order of `CLASS_NAMES`.
    looking
        Whether calls and their bytes are counted now. That costs more than reading a clock, so it is done in one iteration of
        an interval only.
    calls, sizes_bytes
        What was counted since `look`, by class.
    """

    def __init__(self) -> None:
        self.seconds = [0.0] * len(CLASS_NAMES)
        self.io_s = 0.0
        self.looking = False
        self.calls = [0] * len(CLASS_NAMES)
        self.sizes_bytes = [0] * len(CLASS_NAMES)

    @property
    def communication_s(self) -> float:
        """Seconds in calls of all classes."""
        return sum(self.seconds)

    def look(self) -> None:
        """Count the calls from now on, until `looking` is switched off."""
        self.looking = True
        self.calls = [0] * len(CLASS_NAMES)
        self.sizes_bytes = [0] * len(CLASS_NAMES)

    def count(self, number: int, arguments: Iterable[object]) -> None:
        """Take note of a call of a class."""
        self.calls[number] += 1
        self.sizes_bytes[number] += size_bytes(arguments)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Leave calls out that are made meanwhile: they are the runtime's own."""
        before = list(self.seconds), list(self.calls), list(self.sizes_bytes)
        try:
            yield
        finally:
            self.seconds[:], self.calls[:], self.sizes_bytes[:] = before
