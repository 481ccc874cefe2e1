"""Slurm's notation for a length of time. The words that may stand in its place differ from command to command."""

from __future__ import annotations

import re

FORM = "days-hours:minutes:seconds"
_TIME = re.compile(r"(?:([0-9]{1,9})-)?(?:(?:([0-9]{1,9}):)?([0-9]{1,9}):)?([0-9]{1,9})")


def seconds_of(text: str) -> int | None:
    """Return the seconds of ``[days-][[hours:]minutes:]seconds``; None where a text is not in this form."""
    if (found := _TIME.fullmatch(text)) is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
