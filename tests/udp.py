"""Datagrams as others would send them: other users, other machines, other families of addresses."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from flexmpi.protocol.address import Address

NOBODY = 65534
LIMIT_S = 10.0


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as end:
            end.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6 loopback (::1)")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")


@contextmanager
def somebody_else() -> Iterator[None]:
    """Be another user for a while: sockets that are made meanwhile are that user's."""
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def strangers_socket(family: socket.AddressFamily = socket.AF_INET) -> socket.socket:
    """Return a UDP socket that belongs to another user."""
    with somebody_else():
        end = socket.socket(family, socket.SOCK_DGRAM)
    end.settimeout(LIMIT_S)
    return end


def told(end: socket.socket, address: Address, text: bytes) -> str:
    """Send a datagram and return the reply."""
    end.sendto(text, address)
    return end.recv(65536).decode()
