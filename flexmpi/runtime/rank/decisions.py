"""What the ranks of an application learn together at an agreement point. Plain frozen data, sent as it is."""

from __future__ import annotations

from dataclasses import dataclass

from flexmpi.protocol.handover import OfferHandover
from flexmpi.runtime.job.places import Transition

SHORT_STATE_BYTES = 1 << 12
"""A state of up to so many bytes goes with the message that the rows can be taken: a file costs each node's ranks a question."""


@dataclass(frozen=True)
class Decision:
    """What all ranks learn at an agreement point: iterations until the next, what changes now, and other events to count.

    Of ``imagined`` changes the ranks are to find out how many bytes they would move.
    """

    interval: int
    change: object = None
    terminate: bool = False
    counters: tuple[str, ...] | None = None
    imagined: tuple[Transition, ...] = ()


@dataclass(frozen=True)
class HandingOver:
    """What all ranks learn of a handover: what was offered, and the state's values, pickled, which are the first rank's."""

    offer: OfferHandover
    state: bytes

    @property
    def short_state(self) -> bytes:
        """The state, where it goes with a message; else nothing."""
        return self.state if len(self.state) <= SHORT_STATE_BYTES else b""

    @property
    def long_state(self) -> bytes:
        """The state, where it goes by a file; else nothing."""
        return b"" if self.short_state else self.state
