"""When an application's ranks may begin an I/O phase: at once, after a delay (command 9), or when a controller grants it.

Pure but for the clock it is given; the supervisor sends what is returned here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from flexmpi.runtime.job.roster import RankId

GRANT_LIMIT_S = 120.0
"""The longest an I/O phase waits for a controller; then it begins without."""


@dataclass
class IOGate:
    """The I/O phase of one application: it begins with the first rank that asks and ends with the last that is done.

    Attributes
    ----------
    controlled
        A controller grants I/O phases.
    delay_s
        How long the next phase has to wait (command 9).
    limit_s
        The longest a phase waits for a controller.
    waiting, inside
        Ranks that have asked, and ranks that are at their I/O.
    """

    controlled: bool
    clock: Callable[[], float]
    delay_s: float = 0.0
    limit_s: float = GRANT_LIMIT_S
    waiting: set[RankId] = field(default_factory=set)
    inside: set[RankId] = field(default_factory=set)
    opens_at: float | None = None

    def ask(self, rank: RankId) -> bool:
        """Take a rank's request in; True if it begins a phase (and a controller is to be asked)."""
        begins = not self.waiting and not self.inside
        self.waiting.add(rank)
        if begins:
            wait_s = self.limit_s if self.controlled else 0.0
            self.opens_at = self.clock() + max(wait_s, self.delay_s)
            self.delay_s = 0.0
        elif self.inside:
            self.opens_at = self.clock()
        return begins

    def grant(self) -> None:
        """Let the phase that waits begin (command 10), and forget a delay."""
        self.delay_s = 0.0
        if self.waiting:
            self.opens_at = self.clock()

    def delay(self, seconds: float) -> None:
        """Have the phase that waits, or else the next one, begin so many seconds from now (command 9)."""
        if self.waiting:
            self.opens_at = self.clock() + seconds
        else:
            self.delay_s = seconds

    def open(self) -> None:
        """Let every phase begin at once from now on: the application is to end."""
        self.limit_s = 0.0
        self.grant()

    def admitted(self) -> list[RankId]:
        """Return the ranks that may go on now; they are inside from here on."""
        if self.opens_at is None or self.clock() < self.opens_at:
            return []
        going, self.waiting = sorted(self.waiting), set()
        self.inside.update(going)
        return going

    def leave(self, rank: RankId) -> bool:
        """Note that a rank is done, or gone; True if that ends the phase."""
        was_busy = bool(self.inside or self.waiting)
        self.inside.discard(rank)
        self.waiting.discard(rank)
        over = was_busy and not self.inside and not self.waiting
        if over:
            self.opens_at = None
        return over

    def left_s(self) -> float | None:
        """Return how long until the waiting ranks may go on; None while none waits."""
        if not self.waiting or self.opens_at is None:
            return None
        return max(0.0, self.opens_at - self.clock())
