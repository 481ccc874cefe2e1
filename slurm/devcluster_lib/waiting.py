"""What goes wrong, and waiting with a limit that says what it waited for. Nothing here knows Slurm."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

POLL_S = 0.01
TAIL_LINES = 12


class DevclusterError(Exception):
    """The cluster could not be brought to the wanted state; the message says what, where and what was expected."""

    status = 1


class MissingError(DevclusterError):
    """This machine lacks what is needed: Debian packages, or the right to make namespaces."""

    status = 3


def wait_until(
    condition: Callable[[], bool], *, what: str, limit_s: float, logs: Callable[[], list[Path]] = list
) -> None:
    """Look at a condition of other processes until it holds.

    Parameters
    ----------
    condition
        Looked at every 10 ms; it may raise to give up early.
    what
        What holds then, for the message: "slurmctld answers at 127.0.0.1:17000".
    limit_s
        Longest wait, in seconds.
    logs
        Returns the log files whose ends explain why it does not hold.

    Raises
    ------
    DevclusterError
        It did not hold within the limit.
    """
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            raise DevclusterError(f"waited {limit_s:g} s in vain until {what}" + "".join(map(tail, logs())))
        time.sleep(POLL_S)


def tail(log: Path) -> str:
    """Return the end of a log file, each line indented below the file's name; nothing where there is none."""
    try:
        lines = log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
    except OSError:
        return ""
    return "".join(f"\n  {line}" for line in [f"the end of {log}:", *(f"  {line}" for line in lines)]) if lines else ""
