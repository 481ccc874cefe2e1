"""UDP sockets: which of a host's addresses is meant, and one to send commands from. What is said over them is not known here."""

from __future__ import annotations

import socket

from flexmpi.errors import ConfigurationError
from flexmpi.protocol.address import EVERY_ADDRESS, Address

_REPORT_ERRORS = {socket.AF_INET: (socket.IPPROTO_IP, 11), socket.AF_INET6: (socket.IPPROTO_IPV6, 25)}
"""IP_RECVERR and IPV6_RECVERR of ip(7) and ipv6(7)."""


def resolved(address: Address, *, what: str) -> list[tuple[socket.AddressFamily, Address]]:
    """Look a host up.

    Parameters
    ----------
    what
        Where it was named: ``--report``.

    Returns
    -------
    list
        Its addresses with their families, IPv4 first: there a name that has both is listened at, so ``localhost`` means
        the same to every sender. Never empty.

    Raises
    ------
    ConfigurationError
        The name is not known.
    """
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigurationError(f"{what}: host {address.host!r} is not known: {why}") from None
    families = {socket.AF_INET: 0, socket.AF_INET6: 1}
    addresses = [(family, _scoped(end)) for family, _, _, _, end in found if family in families]
    if not addresses:
        raise ConfigurationError(f"{what}: host {address.host!r} has no IPv4 or IPv6 address")
    return sorted(dict.fromkeys(addresses), key=lambda item: families[item[0]])


def _scoped(end: tuple[object, ...]) -> Address:
    host, port = str(end[0]), int(str(end[1]))
    # getaddrinfo drops the interface of a link-local address, which it means nothing without.
    if len(end) == 4 and end[3] and "%" not in host:
        host = f"{host}%{socket.if_indextoname(int(str(end[3])))}"
    return Address(host, port)


def sending_socket(family: socket.AddressFamily) -> socket.socket:
    """Return a socket to send commands from, which nobody else can speak for while it is open.

    It is bound to no single address and not connected: at a port of one address only, another user can bind the same port
    of the next one, and send with this one's.
    """
    end = socket.socket(family, socket.SOCK_DGRAM)
    try:
        # So that a closed port is refused at once rather than waited for.
        end.setsockopt(*_REPORT_ERRORS[family], 1)
        end.bind((EVERY_ADDRESS[family == socket.AF_INET6], 0))
    except OSError:
        end.close()
        raise
    return end


def reachable(address: Address) -> Address:
    """Return where to send for an address to listen at: every address is reached by the loopback."""
    return Address({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host), address.port)
