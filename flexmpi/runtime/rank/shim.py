"""The main program that ``mpiexec`` starts: it forks the rank, and tells the node launcher how that has ended.

An ``mpiexec`` is no witness: it kills the other ranks as soon as one has closed its connection, and may then name one of those,
for it has come to its end first. The shim keeps that connection open until it has told.

Standard library only, and little of that: all that is imported here stays in memory beside each rank.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from flexmpi.protocol.rank_start import ENDS, place_by
from flexmpi.runtime.machine import this_process


def main() -> None:
    """Run ``SCRIPT [ARGS…]`` or ``-m MODULE [ARGS…]`` as a rank, in a process below this one."""
    _die_with_parent()
    part()
    from flexmpi.runtime.rank import main as rank

    rank.main()


def part() -> None:
    """Go on as the rank, in the same process group, and leave this process behind as its shim."""
    place = place_by(os.environ)
    shown = this_process.command_line()
    this_process.show(f"flexmpi: shim of rank {place.number}".encode())
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    shim = os.getpid()
    rank = os.fork()
    if rank:
        _stay(rank, place.number, place.folder)
    this_process.die_with(shim)
    this_process.show(shown.replace(b"flexmpi.runtime.rank.shim", b"flexmpi.runtime.rank.main", 1))
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _stay(rank: int, number: int, folder: Path) -> NoReturn:
    """Wait for the end of the rank, tell it, and end in the same way."""
    _, status = os.waitpid(rank, 0)
    with suppress(OSError):
        # Nobody reads where the launcher is gone.
        pipe = os.open(folder / ENDS, os.O_WRONLY | os.O_NONBLOCK)
        os.write(pipe, b"%d %d\n" % (number, status))
    if os.WIFSIGNALED(status):
        _end_by(os.WTERMSIG(status))
    os._exit(os.waitstatus_to_exitcode(status))


def _end_by(number: int) -> NoReturn:
    """End by a signal, and leave no core file, for the rank has."""
    this_process.leave_no_core()
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os._exit(1)


def _die_with_parent() -> None:
    """Have the kernel kill this process when the one that started it dies; the node launcher adopts those it did not start."""
    parent = os.getppid()
    if parent in (1, int(os.environ.pop("FLEXMPI_LAUNCHER"))):
        sys.exit(1)
    this_process.die_with(parent)


if __name__ == "__main__":
    main()
