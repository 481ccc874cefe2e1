"""Memory that the ranks of a node share: a node's rows of an array are one file in memory, and each rank maps its part.

So on a node rows change ranks by being mapped elsewhere. mmap and numpy only; where the files come from is told from outside.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flexmpi.errors import NodeMemoryError
from flexmpi.runtime.arrays.reservation import SMALLEST_HUGE_BYTES

OpenFile = Callable[[str, int], int]
"""Returns a descriptor, the caller's to close, of the node's file with this key and so many bytes."""


class NodeRoom:
    """Room for the elements of an array in a node's file, every one at its place among all; zeros at the start.

    Parameters
    ----------
    key
        The file's, the same on every rank.
    count, dtype
        The number of elements, those on other nodes included, and their type.
    open_file
        Where the file comes from.
    """

    in_place = True

    def __init__(self, key: str, count: int, dtype: np.dtype[Any], *, open_file: OpenFile) -> None:
        self.key, self.count, self.dtype = key, count, dtype
        self._open_file = open_file

    def part(self, start: int, stop: int) -> NDArray[Any]:
        """Map the elements from ``start`` to ``stop``; others of the node see what is written there."""
        return self._map(start, stop, mmap.MAP_SHARED)

    def copy(self) -> NDArray[Any]:
        """Map all elements so that what is written there is this process's own; pages that are not are the node's one."""
        return self._map(0, self.count, mmap.MAP_PRIVATE)

    def _map(self, start: int, stop: int, flags: int) -> NDArray[Any]:
        size_bytes, low = (stop - start) * self.dtype.itemsize, start * self.dtype.itemsize
        if not size_bytes:
            return np.empty(0, dtype=self.dtype)
        page = mmap.ALLOCATIONGRANULARITY
        first = low // page * page
        descriptor = self._open_file(self.key, self.count * self.dtype.itemsize)
        try:
            mapped = mmap.mmap(descriptor, low - first + size_bytes, flags=flags, offset=first)
        except OSError as error:
            raise NodeMemoryError(f"{self.key}: a rank cannot map its part of it: {error.strerror}") from None
        finally:
            os.close(descriptor)
        if size_bytes >= SMALLEST_HUGE_BYTES:
            # Advice: shared memory has huge pages only where an administrator lets it.
            with suppress(OSError):
                mapped.madvise(mmap.MADV_HUGEPAGE)
        return np.frombuffer(mapped, dtype=np.uint8)[low - first :].view(self.dtype)

    def populate(self, start: int, stop: int) -> None:
        """Do nothing: a part's memory is there as soon as it holds something on this node."""

    def keep_only(self, start: int, stop: int) -> None:
        """Do nothing: it is the launcher that gives memory back, when no rank of the node needs it."""
