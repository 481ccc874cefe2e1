"""This process: with whom it dies, and what ``ps`` shows of it.

Standard library only, and little of that: every rank's shim has it in memory.
"""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4

_libc = ctypes.CDLL(None)


def die_with(parent: int) -> None:
    """Have the kernel kill this process when ``parent``, which started it, dies; end it here if that has happened already."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def die_with_parent() -> None:
    """Have the kernel kill this process when the one that started it dies."""
    die_with(os.getppid())


def leave_no_core() -> None:
    """Have the kernel write no core file of this process, and pipe none to a program either, as a limit would not prevent."""
    _libc.prctl(PR_SET_DUMPABLE, 0)


def memory() -> tuple[int, int, int, int]:
    """Return where in this process's memory its command line and its environment begin and end, as it was started with."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    # Numbers 48 to 51 in proc(5); the first behind the name is number 3.
    arguments, arguments_end, environment, environment_end = (int(field) for field in fields[45:49])
    return arguments, arguments_end, environment, environment_end


def command_line() -> bytes:
    """Return what ``ps`` shows, with a zero byte behind each argument."""
    start, end, *_ = memory()
    return ctypes.string_at(start, end - start)


def show(command_line: bytes) -> None:
    """Show a command line in place of the one that is shown, as far as there is room."""
    start, end, *_ = memory()
    # The kernel reads on behind one that does not end with a zero byte.
    ctypes.memmove(start, command_line[: end - start - 1].ljust(end - start, b"\0"), end - start)
