"""Answers applications that want to do I/O: with the token in turn (``--scheduling-io``), or at once.

Whose turn it is, is iotoken.py's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from flexmpi.controller.iotoken import IOToken
from flexmpi.errors import FlexMPIError


class Granting:
    """Grants I/O phases.

    Parameters
    ----------
    token
        None to grant every phase at once.
    tell
        Sends an application the grant.
    warn
        Prints a line.
    notify
        Called when the token may be free.
    """

    def __init__(
        self,
        token: IOToken | None,
        *,
        tell: Callable[[int], Awaitable[object]],
        warn: Callable[[str], None],
        notify: Callable[[], None],
    ) -> None:
        self._token = token
        self._tell = tell
        self._warn = warn
        self._notify = notify
        self._telling: set[asyncio.Task[None]] = set()

    def ask(self, number: int) -> None:
        """An application wants to begin an I/O phase."""
        if self._token is None:
            self._grant(number)
        else:
            self._token.ask(number)
            self._notify()

    def release(self, number: int) -> None:
        """An application has ended its I/O phase, or has ended itself."""
        if self._token is not None:
            self._token.release(number)
            self._notify()

    def pass_on(self) -> None:
        """Pass the token on if it is time to."""
        if self._token is None or (turn := self._token.turn()) is None:
            return
        if turn.overdue is not None:
            self._warn(
                f"Warning: application {turn.overdue} has kept the I/O token for more than {self._token.limit_s:g} s; "
                f"it passes on to application {turn.granted}, which has waited {turn.waited_s:.1f} s"
            )
        self._grant(turn.granted)

    def left_s(self) -> float | None:
        """Return how long until the token can pass on; None where nobody waits for it."""
        return None if self._token is None else self._token.left_s()

    def _grant(self, number: int) -> None:
        task = asyncio.create_task(self._tell_granted(number))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _tell_granted(self, number: int) -> None:
        try:
            await self._tell(number)
        except FlexMPIError as error:
            self._warn(f"Warning: application {number} was not told to begin its I/O phase: {error}")
