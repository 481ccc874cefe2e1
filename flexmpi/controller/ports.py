"""The UDP ports of each application: one it listens at for commands, and the next, where its reports go.

Ports are only given out here; what arrives is reports.py's.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator

from flexmpi.errors import ConfigurationError
from flexmpi.protocol.address import Address

HOST = "127.0.0.1"
LARGEST_PORT = 65535

Bind = Callable[[Address], socket.socket | None]


def bind(address: Address) -> socket.socket | None:
    """Return a UDP socket bound to an address, None where it is taken."""
    end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        end.bind(address)
    except OSError as error:
        end.close()
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        return None
    end.setblocking(False)
    return end


class Ports:
    """Gives out pairs of neighbouring ports, upwards from the first; a pair with one in use is left out.

    Parameters
    ----------
    first
        6666 in the manual.
    """

    def __init__(self, first: int, *, bind: Bind = bind) -> None:
        self._first = first
        self._pairs: Iterator[tuple[int, int]] = zip(
            range(first, LARGEST_PORT, 2), range(first + 1, LARGEST_PORT + 1, 2), strict=True
        )
        self._bind = bind

    def take(self) -> tuple[Address, socket.socket]:
        """Return where the next application is to listen, and the socket for its reports, bound to the port after it.

        Raises
        ------
        ConfigurationError
            No pair is left.
        """
        for listening, reporting in self._pairs:
            trial = self._bind(Address(HOST, listening))
            if trial is None:
                continue
            # The application binds this port itself, shortly.
            trial.close()
            if (reports := self._bind(Address(HOST, reporting))) is not None:
                return Address(HOST, listening), reports
        raise ConfigurationError(f"no two neighbouring UDP ports are free from {self._first} on")
