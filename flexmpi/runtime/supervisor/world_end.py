"""What the report of the end of a process set, or of a rank's program, means: who has ended it, and by what. Pure."""

from __future__ import annotations

import errno
import signal

from flexmpi.errors import LinkError, MembershipError, NodeMemoryError
from flexmpi.protocol.frames import Message

SIGNALS_OF_SHELLS = 128
"""What a shell adds to the number of the signal that has ended a command."""
OF_THE_MACHINE = tuple(f"flexmpi.errors.{error.__name__}" for error in (NodeMemoryError, MembershipError, LinkError))
OF_NUMPY = ("numpy._core._exceptions._ArrayMemoryError", "numpy.core._exceptions._ArrayMemoryError")
FOR_WANT_OF_MEMORY = ("MemoryError", *OF_NUMPY, f"OSError: [Errno {errno.ENOMEM}]")
NOT_THE_PROGRAMS = ("mpi4py.MPI.Exception", *OF_THE_MACHINE, *FOR_WANT_OF_MEMORY)
"""What a program that could run may raise: while two worlds need memory, or in a world that has lost a rank."""


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


def how_it_failed(failure: Message) -> str:
    """Say how a rank's program has failed: by an exception, or by ``sys.exit`` with a text or a number."""
    if failure["traceback"]:
        return f"raised {failure['summary']}"
    said = failure["summary"]
    return f"ended with status {failure['status']}" + (f' ("{said.splitlines()[0]}")' if said else "")


def is_the_programs(failure: Message) -> bool:
    """Tell whether a program would, as far as one can see, fail so in every world: it says why, and not for want of memory."""
    return bool(failure["summary"]) and not failure["summary"].startswith(NOT_THE_PROGRAMS)
