"""What the report of a process set's end means: which of its processes ended it, and by what. Pure."""

from __future__ import annotations

import signal

from flexmpi.protocol.frames import Message

SIGNALS_OF_SHELLS = 128
"""What a shell adds to the number of the signal that has ended a command."""


def killed_first(report: Message, first: int | None) -> tuple[int, int] | None:
    """Return the process that was killed, and by which signal, before its ``mpiexec`` killed the others; None if none was.

    Parameters
    ----------
    report
        Of the end: ``killed``, pairs of a process and its signal, and ``names_all``, whether ``mpiexec`` has listed those too
        that it has killed itself.
    first
        The process whose connection ended first, where that is known.
    """
    killed = {int(pid): int(number) for pid, number in report["killed"]}
    if not killed:
        return None
    if not report["names_all"]:
        return next(iter(killed.items()))
    other = next(((pid, number) for pid, number in killed.items() if number != signal.SIGKILL), None)
    if other is not None:
        return other
    if first is None:
        return next(iter(killed.items()))
    return (first, killed[first]) if first in killed else None


def exit_status(report: Message, first: int | None) -> int:
    """Return the status of a job that ends because a process set has: 128 + the signal's number, as in a shell."""
    if report["status"] < 0:
        return SIGNALS_OF_SHELLS - int(report["status"])
    if (killed := killed_first(report, first)) is not None:
        return SIGNALS_OF_SHELLS + killed[1]
    return int(report["status"]) or 1


def signal_name(number: int) -> str:
    """Return a signal's number with its name."""
    return f"signal {number} ({signal.Signals(number).name})" if number in set(signal.Signals) else f"signal {number}"
