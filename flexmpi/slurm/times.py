"""Slurm's notation for a length of time. The words that may stand in its place differ from command to command."""

from __future__ import annotations

FORM = "days-hours:minutes:seconds"


def seconds_of(text: str) -> int | None:
    """Return the seconds of ``[days-][[hours:]minutes:]seconds``; None where a text is not in this form."""
    days, dash, clock = text.rpartition("-")
    parts = clock.split(":")
    if not (all(part.isdecimal() for part in parts) and (days.isdecimal() or not dash) and len(parts) <= 3):
        return None
    seconds = 0
    for part in parts:
        seconds = seconds * 60 + int(part)
    return int(days or 0) * 86400 + seconds
