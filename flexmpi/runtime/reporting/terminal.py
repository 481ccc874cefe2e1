"""The supervisor's own output: what the application prints, and what FlexMPI says; a slow reader does not hold up the job.

Nothing here knows what is said.
"""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TextIO

from flexmpi.runtime.reporting.outlet import Outlet


class Terminal:
    """Standard output and standard error of this process; used in its event loop.

    Parameters
    ----------
    on_unwanted
        Called when whoever read standard output has closed it and wants no more.

    Attributes
    ----------
    flushed
        Whether all has been written since `flush`.
    """

    def __init__(self, on_unwanted: Callable[[], None]) -> None:
        self.flushed = False
        self._on_unwanted = on_unwanted
        self._loop = asyncio.get_running_loop()
        self._outlets = {
            name: self._open(name, stream) for name, stream in (("stdout", sys.stdout), ("stderr", sys.stderr))
        }
        self._unflushed = 0
        self._unfinished: dict[str, object] = {}

    def _open(self, name: str, stream: TextIO | None) -> Outlet:
        # Python has no stream where the descriptor was closed when it started.
        descriptor = os.open(os.devnull, os.O_WRONLY) if stream is None else stream.fileno()
        return Outlet(descriptor, on_broken=lambda error: self._soon(partial(self._broken, name, error)))

    def write(
        self, stream: str, data: bytes, *, source: object = None, then: Callable[[], object] | None = None
    ) -> None:
        """Write whole lines of one ``source`` to "stdout" or "stderr"; ``then`` is called, in the event loop, when that is done.

        A line without a newline is ended by the next text of another source.
        """
        if data:
            if self._unfinished.get(stream, source) != source:
                data = b"\n" + data
            self._unfinished.pop(stream, None)
            if not data.endswith(b"\n"):
                self._unfinished[stream] = source
        self._outlets[stream].write(data, then=None if then is None else lambda: self._soon(then))

    def say(self, text: str) -> None:
        """Write to standard error."""
        self.write("stderr", text.encode(errors="replace"))

    def flush(self, then: Callable[[], object]) -> None:
        """Have ``then`` called when all has been written."""
        self._unflushed = len(self._outlets)
        for name in self._outlets:
            self.write(name, b"", then=partial(self._flushed, then))

    def _flushed(self, then: Callable[[], object]) -> None:
        self._unflushed -= 1
        if not self._unflushed:
            self.flushed = True
            then()

    def _broken(self, name: str, error: OSError) -> None:
        if name == "stdout" and error.errno == errno.EPIPE:
            self._on_unwanted()
        elif name == "stdout":
            self.say(f"flexmpi: warning: cannot write to standard output any more: {error.strerror}\n")

    def _soon(self, call: Callable[[], object]) -> None:
        # The event loop may have ended before a reader took the last of it.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call)
