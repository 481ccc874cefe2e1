"""Address space for a whole array, in which every element has its place and only those a rank holds take memory.

So rows that stay on a rank are not copied when its part of the array changes: those that come are received beside them, and
those that have gone give their memory back. mmap and numpy only.
"""

from __future__ import annotations

import mmap
import platform
import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

HUGE_PAGE_BYTES = 1 << 21
SMALLEST_HUGE_BYTES = 4 * HUGE_PAGE_BYTES
"""Parts from this size on are put on huge pages, which are quicker to get and to read by another process; smaller ones would
waste too much at their ends."""
# Not in Python's mmap module before 3.13, or at all.
MAP_NORESERVE = 0x40 if platform.machine().startswith(("ppc", "sparc")) else 0x4000
MADV_POPULATE_WRITE = 23
OVERCOMMIT = Path("/proc/sys/vm/overcommit_memory")


@cache
def possible() -> bool:
    """Whether this system gives address space without counting it as memory: no ulimit -v, no strict accounting."""
    if not sys.platform.startswith("linux") or resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        return False
    try:
        return OVERCOMMIT.read_text().strip() != "2"
    except OSError:
        return False


class Room(Protocol):
    """Room for the elements of an array, of which a rank has a part.

    Attributes
    ----------
    count, dtype
        The number of elements, those held elsewhere included, and their type.
    in_place
        Whether an element is at the same place in all parts that have it.
    """

    count: int
    dtype: np.dtype[Any]
    in_place: bool

    def part(self, start: int, stop: int) -> NDArray[Any]:
        """Return the elements from ``start`` to ``stop``."""

    def populate(self, start: int, stop: int) -> None:
        """Get the memory for elements that hold nothing yet, so that nobody waits for it later."""

    def keep_only(self, start: int, stop: int) -> None:
        """Give back the memory of all elements but those from ``start`` to ``stop``; what stood there is lost."""


MakeRoom = Callable[[str, int, "np.dtype[Any]"], Room]
"""Makes room for an object's elements, by a key of which each is used once, their number and their type."""


class Reservation:
    """Room for some elements of one type, zeros at the start.

    Where the system gives no such room every part is memory of its own.

    Parameters
    ----------
    count
        The number of elements, those held elsewhere included.
    dtype
        Their type.

    Attributes
    ----------
    in_place
        Whether an element is at the same place in all parts that have it.
    """

    def __init__(self, count: int, dtype: np.dtype[Any]) -> None:
        self.count, self.dtype = count, dtype
        self._map = _mapping(count * dtype.itemsize)
        self.in_place = self._map is not None
        if self._map is not None:
            self._bytes = np.frombuffer(self._map, dtype=np.uint8)
            self._address = int(self._bytes.ctypes.data)

    def part(self, start: int, stop: int) -> NDArray[Any]:
        """Return the elements from ``start`` to ``stop``."""
        if self._map is None:
            return np.zeros(stop - start, dtype=self.dtype)
        low, high = self._bytes_of(start, stop)
        if high - low >= SMALLEST_HUGE_BYTES:
            self._advise(mmap.MADV_HUGEPAGE, low, high, page=HUGE_PAGE_BYTES)
        return self._bytes[low:high].view(self.dtype)

    def populate(self, start: int, stop: int) -> None:
        """Get the memory for elements that hold nothing yet, so that nobody waits for it later."""
        if self._map is not None and start < stop:
            self.part(start, stop)
            # Where the kernel cannot (before 5.14), the memory comes when it is written to.
            self._advise(MADV_POPULATE_WRITE, *self._bytes_of(start, stop), page=mmap.PAGESIZE)

    def keep_only(self, start: int, stop: int) -> None:
        """Give back the memory of all elements but those from ``start`` to ``stop``; what stood there is lost."""
        if self._map is None:
            return
        low, high = self._bytes_of(start, stop) if start < stop else (0, 0)
        self._advise(mmap.MADV_DONTNEED, 0, low // mmap.PAGESIZE * mmap.PAGESIZE)
        self._advise(mmap.MADV_DONTNEED, -(-high // mmap.PAGESIZE) * mmap.PAGESIZE, len(self._map))

    def _bytes_of(self, start: int, stop: int) -> tuple[int, int]:
        return start * self.dtype.itemsize, stop * self.dtype.itemsize

    def _advise(self, advice: int, low: int, high: int, *, page: int = 1) -> None:
        """Advise the kernel on a stretch of bytes, widened to whole pages of some size as far as they lie in the mapping."""
        assert self._map is not None
        first = max(0, (self._address + low) // page * page - self._address)
        last = min(len(self._map), -(-(self._address + high) // page) * page - self._address)
        if first < last:
            # It is advice: without huge pages all is slower, and memory that is not given back is used again.
            with suppress(OSError):
                self._map.madvise(advice, first, last - first)


def reserve(key: str, count: int, dtype: np.dtype[Any]) -> Room:
    """Make room in this process's own memory."""
    return Reservation(count, dtype)


def _mapping(size_bytes: int) -> mmap.mmap | None:
    """Return address space that takes no memory yet; None where there is nothing to map or the system refuses."""
    if not size_bytes or not possible():
        return None
    try:
        return mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE)
    except (OSError, OverflowError, ValueError):
        return None
