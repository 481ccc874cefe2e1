"""Slurm's notation for lengths of time and for moments, with the words that stand in their place: read here and nowhere else."""

from __future__ import annotations

import re

from flexmpi.errors import ManagerError
from flexmpi.numerals import LONGEST, whole_number

FORM = "days-hours:minutes:seconds"
ENVIRONMENT = {"SLURM_TIME_FORMAT": "%s"}
"""What Slurm's commands need in their environment to print moments as seconds of the epoch."""

_WITH_DAYS = re.compile(r"([0-9]{1,9})-([0-9]{1,9})(?::([0-9]{1,9}))?(?::([0-9]{1,9}))?")
_WITHOUT = re.compile(r"(?:([0-9]{1,9}):)?([0-9]{1,9})(?::([0-9]{1,9}))")
_MINUTES = re.compile(r"[0-9]{1,9}")

_NONE = ("UNLIMITED", "INFINITE", "NOT_SET", "PARTITION_LIMIT", "N/A", "NONE", "UNKNOWN", "(NULL)", "")
_INVALID = "INVALID"
"""squeue's word for a time below 0 or above 365 days: of a limit it can only be the second."""


def seconds_of(text: str) -> int | None:
    """Return the seconds of a length of time; None where a text is not in one of the forms that sbatch(1) names.

    These are ``minutes``, ``minutes:seconds``, ``hours:minutes:seconds``, ``days-hours``, ``days-hours:minutes`` and
    ``days-hours:minutes:seconds``.
    """
    if _MINUTES.fullmatch(text):
        return int(text) * 60
    if found := _WITH_DAYS.fullmatch(text):
        days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    elif found := _WITHOUT.fullmatch(text):
        days, (hours, minutes, seconds) = 0, (int(part or 0) for part in found.groups())
    else:
        return None
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def moment(text: str) -> int | None:
    """Return a moment in seconds of the epoch, see `ENVIRONMENT`; None where there is none.

    Raises
    ------
    ManagerError
        It is neither.
    """
    if text.upper() in _NONE:
        return None
    if (seconds := whole_number(text, longest=LONGEST)) is None:
        raise ManagerError(f"Slurm says a moment of {text[:40]!r}, expected seconds of the epoch")
    return seconds


def is_limited(text: str) -> bool:
    """Whether a time limit is one.

    Raises
    ------
    ManagerError
        It is no time limit.
    """
    if text.upper() in _NONE:
        return False
    if text != _INVALID and seconds_of(text) is None:
        raise ManagerError(f"Slurm says a time of {text[:40]!r}, expected {FORM}")
    return True


def time_limit_s(text: str, *, starts_at: int | None, ends_at: int | None) -> int | None:
    """Return a job's time limit in seconds; None for no limit, one not set yet, or one above 365 days that is not known.

    Parameters
    ----------
    starts_at, ends_at
        When the job started and will end by its limit, in seconds of the epoch, or when Slurm expects that; they tell a
        limit for which ``squeue`` has no words.

    Raises
    ------
    ManagerError
        It is no time limit.
    """
    if not is_limited(text):
        return None
    if text == _INVALID:
        return None if starts_at is None or ends_at is None else max(0, ends_at - starts_at)
    return seconds_of(text)


def time_left_s(limit: str, *, ends_at: int | None, now: float) -> int | None:
    """Return how long a running job may still run, in seconds: 0 or less past its limit, None without a limit.

    It is told by the job's end, for of the time that is left ``squeue`` says the same word past the limit and long before it.

    Raises
    ------
    ManagerError
        It is no time limit, or there is one and no end.
    """
    if not is_limited(limit):
        return None
    if ends_at is None:
        raise ManagerError(f"Slurm says a time limit of {limit} and no end")
    return int(ends_at - now)
