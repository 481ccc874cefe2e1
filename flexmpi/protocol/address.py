"""Where text commands and reports go: a host and a UDP port."""

from __future__ import annotations

from typing import NamedTuple

from flexmpi.errors import ConfigurationError
from flexmpi.numerals import whole_number

LARGEST_DATAGRAM = 65507


class Address(NamedTuple):
    """An address to listen at or send to."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, *, option: str) -> Address:
        """Read ``[HOST:]PORT``; the host is this machine's loopback where it is not given.

        Raises
        ------
        ConfigurationError
            It is not such an address.
        """
        host, _, written = text.rpartition(":")
        port = whole_number(written)
        if port is None or port > 65535 or (":" in text and not host):
            raise ConfigurationError(f"{option} must be PORT or HOST:PORT with a port of 0 to 65535, got {text!r}")
        return cls(host or "127.0.0.1", port)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host == "localhost" or self.host.startswith("127.")

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"
