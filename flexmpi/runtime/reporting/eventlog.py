"""The event log of one job: one JSON object a line, for programs that follow it while it runs."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from flexmpi.errors import ConfigurationError
from flexmpi.runtime.reporting.outlet import Outlet

CLOSE_LIMIT_S = 5.0
"""How long the end of a job waits for a reader of its log."""


class EventLog:
    """Writes events; each line is complete when it appears in the file.

    A log that cannot be written any more, or whose reader is slow, does not disturb the job.

    Parameters
    ----------
    path
        The file, overwritten; None to write nothing.

    Raises
    ------
    ConfigurationError
        The file cannot be written.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._outlet: Outlet | None = None
        if path is not None:
            try:
                self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
            except OSError as error:
                raise ConfigurationError(f"cannot write the log: {error.strerror}", file=str(path)) from None
            self._outlet = Outlet(self._descriptor)

    def write(self, event: str, **fields: object) -> None:
        """Write one event, with the time in seconds of the epoch."""
        if self._outlet is not None:
            self._outlet.write(json.dumps({"event": event, "time": time.time(), **fields}).encode() + b"\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._outlet is None:
            return
        self._outlet.close()
        if self._outlet.wait(CLOSE_LIMIT_S):
            os.close(self._descriptor)
        if self._outlet.error is not None:
            print(
                f"flexmpi: warning: {self._path}: the log is not complete: {self._outlet.error.strerror}",
                file=sys.stderr,
            )
