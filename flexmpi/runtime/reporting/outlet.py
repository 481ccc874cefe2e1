"""Writes to a file, a pipe or a terminal in a thread of its own, so that a slow reader holds up nobody but that thread.

Standard library only.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from queue import SimpleQueue

Written = Callable[[], object]


class Outlet:
    """One open file that is written to in the order of the calls.

    Parameters
    ----------
    descriptor
        The open file; it is not closed here.
    on_broken
        Called once, in the outlet's thread, when nothing more can be written, with the reason. From then on all is dropped.

    Attributes
    ----------
    error
        Why nothing more can be written; None while all is well.
    """

    def __init__(self, descriptor: int, *, on_broken: Callable[[OSError], object] | None = None) -> None:
        self.error: OSError | None = None
        self._descriptor = descriptor
        self._on_broken = on_broken
        self._waiting: SimpleQueue[tuple[bytes, Written | None] | None] = SimpleQueue()
        # Nobody must wait for a reader that never reads: at the end of the process the thread goes with it.
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def write(self, data: bytes, *, then: Written | None = None) -> None:
        """Have ``data`` written; ``then`` is called, in the outlet's thread, when it is written or dropped."""
        self._waiting.put((data, then))

    def close(self) -> None:
        """Take nothing more; what has been taken is still written."""
        self._waiting.put(None)

    def wait(self, limit_s: float | None = None) -> bool:
        """Wait, after `close`, until all is written; False if it is not within the limit."""
        self._thread.join(limit_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (item := self._waiting.get()) is not None:
            data, then = item
            if self.error is None:
                self._write(data)
            if then is not None:
                then()

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        try:
            while left:
                try:
                    left = left[os.write(self._descriptor, left) :]
                except BlockingIOError:
                    # Somebody who shares this file has set it non-blocking.
                    select.select([], [self._descriptor], [])
        except OSError as error:
            self.error = error
            if self._on_broken is not None:
                self._on_broken(error)
