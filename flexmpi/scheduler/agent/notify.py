"""Tells systemd how the agent fares: a datagram to the socket it names, as sd_notify(3) describes."""

from __future__ import annotations

import os
import socket

VARIABLE = "NOTIFY_SOCKET"
LIMIT_S = 1.0


def notify(*state: str) -> bool:
    """Tell the service manager ``READY=1``, ``STATUS=…``, ``WATCHDOG=1`` or ``STOPPING=1``; several in one go.

    Returns
    -------
    bool
        Whether it was told: not where the agent runs under no service manager, or under one that does not listen.
    """
    if not (address := os.environ.get(VARIABLE)):
        return False
    if address.startswith("@"):  # an abstract address, https://man7.org/linux/man-pages/man7/unix.7.html
        address = "\0" + address[1:]
    text = "\n".join(" ".join(line.splitlines()) for line in state)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(LIMIT_S)
            sender.sendto(text.encode(errors="replace"), address)
    except (OSError, ValueError):
        return False
    return True
