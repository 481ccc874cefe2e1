"""Records between a rank and its supervisor, by the line to its launcher."""

from __future__ import annotations

from typing import Any

from flexmpi.protocol.handover import TO_RANKS
from flexmpi.protocol.records import as_object, from_object
from flexmpi.runtime.communication.link import Link


def say(link: Link, record: Any) -> None:
    """Send a record."""
    link.send(**as_object(record))


def hear(link: Link, *kinds: type) -> Any:
    """Sleep until a record of one of these kinds is there; what else comes is for the next agreement point."""
    message = link.await_reply(*(kind.__name__ for kind in kinds))
    assert message is not None
    return from_object(message, TO_RANKS)
