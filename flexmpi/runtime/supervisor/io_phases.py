"""Turns at I/O: which ranks may begin a phase now; when that is, is decided in ``job.iogate``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from flexmpi.runtime.job.iogate import IOGate
from flexmpi.runtime.job.roster import RankId


class IOPhases:
    """The I/O phases of one job.

    Parameters
    ----------
    controlled
        A controller grants them.
    admit
        Tells ranks that they may begin.
    report
        Sends a line to the controller.
    """

    def __init__(
        self, controlled: bool, *, admit: Callable[[list[RankId]], None], report: Callable[[str], None]
    ) -> None:
        self._gate = IOGate(controlled, time.monotonic)
        self._admit = admit
        self._report = report
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, rank: RankId, size_bytes: int | None) -> None:
        """A rank wants to begin a phase, and sleeps until it may."""
        if self._gate.ask(rank) and self._gate.controlled:
            self._report(f"ACQIO: {'n/a' if size_bytes is None else size_bytes}")
        self._open()

    def end(self, rank: RankId) -> None:
        """A rank has ended its phase, or is gone."""
        if self._gate.leave(rank) and self._gate.controlled:
            self._report("RELQIO")

    def delay(self, seconds: float) -> bool:
        """Have the next phase begin later; return whether one waits already."""
        waits = bool(self._gate.waiting)
        self._gate.delay(seconds)
        self._open()
        return waits

    def grant(self) -> bool:
        """Let the phase that waits begin; return whether there is one."""
        waits = bool(self._gate.waiting)
        self._gate.grant()
        self._open()
        return waits

    def open_all(self) -> None:
        """Let all ranks begin from now on: the application is to end."""
        self._gate.open()
        self._open()

    def _open(self) -> None:
        """Let those begin that may, and look again when the next may."""
        if admitted := self._gate.admitted():
            self._admit(admitted)
        if self._timer is not None:
            self._timer.cancel()
        if (left_s := self._gate.left_s()) is not None:
            self._timer = asyncio.get_running_loop().call_later(left_s + 0.001, self._open)
