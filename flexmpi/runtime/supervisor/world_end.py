"""What the report of the end of a process set, or of a rank's program, means: who has ended it, and by what. Pure."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable

from flexmpi.errors import LinkError, MembershipError, NodeMemoryError
from flexmpi.protocol.frames import Message
from flexmpi.runtime.job.roster import ProcessSet, RankId

BEFORE_THE_END = " before the application did"
HINTS: dict[int, str] = {signal.SIGBUS: "; a full /dev/shm does that, where ranks of a node share memory"}
"""What a person should look at who reads that a signal has killed a rank."""
SIGNALS_OF_SHELLS = 128
"""What a shell adds to the number of the signal that has ended a command."""
OF_THE_MACHINE = tuple(f"flexmpi.errors.{error.__name__}" for error in (NodeMemoryError, MembershipError, LinkError))
OF_NUMPY = ("numpy._core._exceptions._ArrayMemoryError", "numpy.core._exceptions._ArrayMemoryError")
FOR_WANT_OF_MEMORY = ("MemoryError", *OF_NUMPY, f"OSError: [Errno {errno.ENOMEM}]")
NOT_THE_PROGRAMS = ("mpi4py.MPI.Exception", *OF_THE_MACHINE, *FOR_WANT_OF_MEMORY)
"""What a program that could run may raise: while two worlds need memory, or in a world that has lost a rank."""


class RankEnds:
    """How ranks have come to their end, as their shims tell it, and what that says of the end of their process sets.

    Attributes
    ----------
    said_bye
        The ranks whose program has ended.
    """

    def __init__(self) -> None:
        self.said_bye: set[RankId] = set()
        self._lost_first: dict[int, RankId] = {}
        self._told: dict[int, dict[RankId, int]] = {}

    def lost(self, rank: RankId) -> None:
        """The connection to a rank has ended without a bye."""
        self._lost_first.setdefault(rank.pset, rank)

    def told(self, rank: RankId, status: int) -> None:
        """A rank has come to its end by itself: as ``os.waitpid`` tells it."""
        self._told.setdefault(rank.pset, {}).setdefault(rank, status)

    def first(self, number: int) -> tuple[RankId, int] | None:
        """Return which rank has ended a process set, and how; None where none that has come to its end is to blame."""
        ends = self._told.get(number, {}).items()
        badly = next((each for each in ends if each[1]), None)
        return badly or next((each for each in ends if each[0] not in self.said_bye), None)

    def exit_status(self, number: int, of_mpiexec: int) -> int:
        """Return the status of a job that ends because a process set has: 128 + the signal's number, as in a shell.

        Parameters
        ----------
        of_mpiexec
            The status of its ``mpiexec``; negative if a signal ended that.
        """
        ended = self.first(number)
        status = of_mpiexec if ended is None or of_mpiexec < 0 else os.waitstatus_to_exitcode(ended[1])
        return SIGNALS_OF_SHELLS - status if status < 0 else status or 1

    def told_cause(self, pset: ProcessSet, name: Callable[[RankId], str]) -> str | None:
        """Say which rank ended a process set, and how, as it was told; None where it was not."""
        if (ended := self.first(pset.number)) is None:
            return None
        return f"{name(ended[0])} {how_it_ended(os.waitstatus_to_exitcode(ended[1]))}"

    def cause(self, pset: ProcessSet, report: Message, name: Callable[[RankId], str]) -> str:
        """Say what ended a process set, by what is known of its ranks and the report of its launcher.

        Parameters
        ----------
        name
            Says who a rank is.
        """
        where, status = f"process set {pset.number} (node {', '.join(pset.nodes)})", int(report["status"])
        if report["error"] is not None:
            return f"{where} could not start: {report['error']}"
        if status < 0:
            return f"mpiexec of {where} was killed by {signal_name(-status)}"
        if (told := self.told_cause(pset, name)) is not None:
            return told
        if (lost := self._lost_first.get(pset.number)) is not None:
            return f"{name(lost)} was ended by its mpiexec with status {status}, as after MPI_Abort"
        return f"mpiexec of {where} ended with status {status}, as after MPI_Abort"


def signal_name(number: int) -> str:
    """Return a signal's number with its name."""
    return f"signal {number} ({signal.Signals(number).name})" if number in set(signal.Signals) else f"signal {number}"


def how_it_ended(status: int) -> str:
    """Say how a rank has ended, by its exit status: negative where that was by a signal."""
    if status < 0:
        return f"was killed by {signal_name(-status)}{HINTS.get(-status, '')}"
    return f"ended with status {status}{BEFORE_THE_END}"


def how_it_failed(failure: Message) -> str:
    """Say how a rank's program has failed: by an exception, or by ``sys.exit`` with a text or a number."""
    if failure["traceback"]:
        return f"raised {failure['summary']}"
    said = failure["summary"]
    return f"ended with status {failure['status']}" + (f' ("{said.splitlines()[0]}")' if said else "")


def is_the_programs(failure: Message) -> bool:
    """Tell whether a program would, as far as one can see, fail so in every world: it says why, and not for want of memory."""
    return bool(failure["summary"]) and not failure["summary"].startswith(NOT_THE_PROGRAMS)
