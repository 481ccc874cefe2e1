"""Where text commands and reports go: a host and a UDP port."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address
from typing import Any, NamedTuple

from flexmpi.errors import ConfigurationError
from flexmpi.numerals import whole_number

LARGEST_DATAGRAM = 65507
LOOPBACK = "127.0.0.1"
EVERY_ADDRESS = ("0.0.0.0", "::")
"""Where a socket listens that is bound to none of its machine's addresses."""


class Address(NamedTuple):
    """An address to listen at or send to; the host is a name or an address, an IPv6 address without brackets."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, *, option: str) -> Address:
        """Read ``[HOST:]PORT``; the host is this machine's loopback where it is not given, an IPv6 address in brackets.

        Raises
        ------
        ConfigurationError
            It is not such an address.
        """
        host, colon, written = text.rpartition(":")
        port = whole_number(written)
        if port is None or port > 65535 or (colon and not host):
            raise ConfigurationError(f"{option} must be PORT or HOST:PORT with a port of 0 to 65535, got {text!r}")
        if host.startswith("[") and host.endswith("]"):
            if not _is_ipv6(host := host[1:-1]):
                raise ConfigurationError(f"{option}: an IPv6 address stands in brackets, as [::1]:6666, got {text!r}")
        elif ":" in host:
            raise ConfigurationError(f"{option}: an IPv6 address needs brackets, as [::1]:6666, got {text!r}")
        return cls(host or LOOPBACK, port)

    @classmethod
    def of(cls, socket_address: tuple[Any, ...]) -> Address:
        """Return what a socket calls an address; an IPv4 address that an IPv6 socket sees is itself again."""
        host, port = socket_address[:2]
        mapped = IPv6Address(host).ipv4_mapped if _is_ipv6(host) else None
        return cls(host if mapped is None else str(mapped), port)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _is_ipv6(host: str) -> bool:
    try:
        IPv6Address(host)
    except ValueError:
        return False
    return True
