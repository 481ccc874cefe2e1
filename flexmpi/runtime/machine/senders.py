"""Whose a datagram is that came from this machine, as the kernel tells: its table of UDP sockets has each one's user.

A datagram itself does not tell, and any user can send one and close its socket at once, or send one with the address of
somebody else's socket from the same port of another address. What could be so is doubted.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from flexmpi.protocol.address import EVERY_ADDRESS, Address

ROOT = 0
TABLES = ("/proc/net/udp", "/proc/net/udp6")
RESERVED_PORTS = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
USER_MAP, NOBODY = Path("/proc/self/uid_map"), Path("/proc/sys/kernel/overflowuid")
ALL_USERS = "0 0 4294967295"
FIRST_FREE_PORT, LAST_USER = 1024, 65534
"""Where a kernel has no such files: it is older, or was built without user namespaces."""

ELSEWHERE = "it comes from another machine, or by IPv6 from other than ::1, and could be from anybody"
NO_TABLE = "this machine does not tell whose sockets are whose (/proc/net/udp)"
REFLECTED = "it comes from the port that it was sent to"
GONE = "its socket is closed already, and could have been anybody's: keep it open until the reply"
SHARED = "other users may have a socket at its port: connect it, or let the system choose its port"


@dataclass(frozen=True)
class UdpSocket:
    """A row of the kernel's table."""

    local: Address
    remote: Address
    uid: int


def parse_table(text: str, *, port: int) -> list[UdpSocket]:
    """Read the sockets at a port from ``/proc/net/udp`` or ``/proc/net/udp6``, which may have thousands at others."""
    at_port = f":{port:04X} "
    rows = [line.split() for line in text.splitlines()[1:] if at_port in line]
    found = [UdpSocket(_address(row[1]), _address(row[2]), int(row[7])) for row in rows]
    return [end for end in found if end.local.port == port]


def _address(text: str) -> Address:
    """Read ``0100007F:1E61``: words of 32 bits, each in this machine's order of bytes."""
    host, _, port = text.partition(":")
    words = [bytes.fromhex(host[at : at + 8]) for at in range(0, len(host), 8)]
    packed = b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)
    return Address.of((str(IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)), int(port, 16)))


def doubt(
    sender: Address,
    sockets: Iterable[UdpSocket],
    *,
    listening: int,
    users: Collection[int],
    reserved_below: int,
    unshared: Callable[[], bool],
) -> str | None:
    """Say why a datagram from this machine may not be of one of these users; None where it is.

    Parameters
    ----------
    sender
        Where it came from.
    sockets
        The UDP sockets of this machine, at least all at the sender's port.
    listening
        The port it came to.
    reserved_below
        Lower ports are root's. From one of them, 53, root's nping sends, past all sockets.
    unshared
        Whether nobody else can have a socket at the sender's port now.
    """
    if sender.port == listening:
        return REFLECTED
    here = [end for end in sockets if end.local.port == sender.port]
    reserved = 0 < sender.port < reserved_below  # a socket that is disconnected while it sends can send from port 0
    # From a port that others may have too a datagram can bear the address of another socket there.
    speakers = [end for end in here if not reserved or end.local.host in (sender.host, *EVERY_ADDRESS)]
    if strangers := [end.uid for end in speakers if end.uid not in users]:
        return f"it comes from uid {strangers[0]}"
    if reserved or any(end.local == sender and _leads_here(end, listening) for end in here):
        return None
    if not here:
        return GONE
    open_to_all = len(here) == 1 and here[0].local.host in EVERY_ADDRESS and here[0].remote.port == 0
    return None if open_to_all and unshared() else SHARED


def _leads_here(end: UdpSocket, listening: int) -> bool:
    """Say whether a socket is connected to a port of this machine."""
    within = end.remote.host == end.local.host or (end.remote.is_loopback and end.local.is_loopback)
    return within and end.remote.port == listening


def doubt_about(sender: Address, *, listening: int) -> str | None:
    """Say why a datagram may not be of this process's own user or root; None where it is.

    To be asked at once, while the sender's socket is still there.
    """
    if not _is_this_machines(sender.host):
        return ELSEWHERE
    try:
        tables = [Path(path).read_text() for path in TABLES if Path(path).exists()]
        sockets = [end for table in tables for end in parse_table(table, port=sender.port)]
        reserved_below = int(_said(RESERVED_PORTS, FIRST_FREE_PORT))
        users = own_and_root(os.getuid(), map_of_users=_said(USER_MAP, ALL_USERS), nobody=int(_said(NOBODY, LAST_USER)))
    except (OSError, ValueError, IndexError):
        return NO_TABLE
    if not tables:
        return NO_TABLE
    return doubt(
        sender,
        sockets,
        listening=listening,
        users=users,
        reserved_below=reserved_below,
        unshared=lambda: not _can_be_shared(sender),
    )


def kernel_tells() -> bool:
    """Say whether this machine tells whose its sockets are at all."""
    return any(Path(path).exists() for path in TABLES)


def _said(path: Path, otherwise: object) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return str(otherwise)


def own_and_root(own: int, *, map_of_users: str, nobody: int) -> set[int]:
    """Return the uids to believe; where a container has not all users, the one that stands for all others is nobody's."""
    users = {ROOT, own}
    return users if map_of_users.split() == ALL_USERS.split() else users - {nobody}


def _is_this_machines(host: str) -> bool:
    """Say whether a datagram with this sender can only come from this machine.

    The kernel drops what comes over a network with an IPv4 address of its own, or a loopback address; other IPv6
    addresses of its own it lets in.
    """
    if Address(host, 0).is_loopback:
        return True
    if ":" in host:
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, 9))
        except OSError:
            return False
        return bool(probe.getsockname()[0] == host)  # an address of its own is reached from itself


def _can_be_shared(sender: Address) -> bool:
    """Try whether somebody else could have a socket at a port, which is in use, beside the one that is there."""
    family = socket.AF_INET6 if ":" in sender.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            probe.bind((EVERY_ADDRESS[family == socket.AF_INET6], sender.port))
        except OSError:
            return False
    return True
