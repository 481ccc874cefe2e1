"""The signals that a supervisor takes: those that end its job, and Ctrl-Z."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def catch(*, end: Callable[[signal.Signals], None], suspend: Callable[[], None]) -> None:
    """Have these called in this event loop, but not for signals that whoever started this process wants it to ignore.

    ``nohup`` and a shell's background jobs do.
    """
    loop = asyncio.get_running_loop()
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, end, number)
    if signal.getsignal(signal.SIGTSTP) is not signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGTSTP, suspend)
