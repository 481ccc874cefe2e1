"""Whose turn it is to do I/O: one token for all applications, handed to the one that has waited longest.

Pure but for the clock it is given; the controller sends the grants.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

LIMIT_S = 120.0


@dataclass(frozen=True)
class Turn:
    """The token passes on.

    Attributes
    ----------
    granted
        The application that may begin its I/O phase now.
    waited_s
        Since it asked.
    overdue
        The application that had the token for too long and lost it; None where it was free.
    """

    granted: int
    waited_s: float
    overdue: int | None = None


@dataclass
class IOToken:
    """The token and the queue for it.

    Attributes
    ----------
    clock
        Seconds, never going back.
    limit_s
        How long an application may keep the token while others wait.
    holder, since_s
        Who has it, and since when.
    waiting
        Application -> when it asked; the longest waiting first.
    """

    clock: Callable[[], float]
    limit_s: float = LIMIT_S
    holder: int | None = None
    since_s: float = 0.0
    waiting: dict[int, float] = field(default_factory=dict)

    def ask(self, application: int) -> None:
        """An application wants to begin an I/O phase; asking again while it waits changes nothing."""
        if application == self.holder:
            # Its word that the phase before was over is lost: datagrams may be.
            self.holder = None
        self.waiting.setdefault(application, self.clock())

    def release(self, application: int) -> None:
        """An application has ended its I/O phase, went on without a grant, or is gone."""
        self.waiting.pop(application, None)
        if application == self.holder:
            self.holder = None

    def turn(self) -> Turn | None:
        """Pass the token on if somebody waits and it is free, or its holder's time is over; None otherwise."""
        if not self.waiting or self.left_s():
            return None
        overdue, now = self.holder, self.clock()
        granted = next(iter(self.waiting))
        self.holder, self.since_s = granted, now
        return Turn(granted, now - self.waiting.pop(granted), overdue)

    def left_s(self) -> float | None:
        """Return how long until the token can pass on; None where nobody waits."""
        if not self.waiting:
            return None
        return 0.0 if self.holder is None else max(0.0, self.since_s + self.limit_s - self.clock())
