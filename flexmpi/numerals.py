"""Whole numbers in text that people and other programs have written."""

from __future__ import annotations

LONGEST_COUNT = 9
"""Digits of a count: ranks, cores, nodes, ports, minutes."""
LONGEST = 18
"""Digits of what fits into 64 bits: iterations, numbers of jobs, parts of names."""


def whole_number(text: str, *, longest: int = LONGEST_COUNT) -> int | None:
    """Return the number that a text is, 0 or more and without a sign; None if it is something else, or has more digits.

    ``int`` alone would take ``1_000``, ``+4`` and the digits of every alphabet, and raises an error of its own above 4300.
    """
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= longest else None
