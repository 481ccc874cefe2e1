"""Datagrams between the controller and an application: what it reports, and a command with its reply.

Nothing here decides what to do about them.
"""

from __future__ import annotations

import asyncio
import re
import socket
from asyncio import DatagramProtocol, DatagramTransport
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from flexmpi.errors import LinkError
from flexmpi.protocol.address import Address
from flexmpi.runtime.machine.datagrams import sending_socket
from flexmpi.runtime.machine.senders import doubt_about

REPLY_LIMIT_S = 6.0
"""An application may itself wait up to 5 s for a node before it replies."""

LONGEST_SHOWN = 2048

Receive = Callable[["Report", Address], None]


@dataclass(frozen=True)
class AskIO:
    """An application begins an I/O phase as soon as it is granted; the size in bytes is not always known."""

    size_bytes: int | None


@dataclass(frozen=True)
class EndIO:
    """The I/O phase is over."""


@dataclass(frozen=True)
class Line:
    """A line to show: printable text."""

    text: str


Report = AskIO | EndIO | Line


def parse_report(datagram: bytes) -> Report:
    """Read what came to a report port; anybody on this machine can send there, so every datagram means something."""
    text = datagram.rstrip(b"\0").decode(errors="replace").strip()
    if text == "RELQIO":
        return EndIO()
    if found := re.fullmatch(r"ACQIO: ?([0-9]{1,18}|n/a)", text):
        return AskIO(None if found[1] == "n/a" else int(found[1]))
    return Line(
        "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text[:LONGEST_SHOWN])
    )


class _Receiver(DatagramProtocol):
    def __init__(self, receive: Receive, listening: int) -> None:
        self._receive = receive
        self._listening = listening

    def datagram_received(self, data: bytes, address: tuple[Any, ...]) -> None:
        report, sender = parse_report(data), Address.of(address)
        # A line is shown with its sender, whoever that is; turns at I/O are this user's own.
        if isinstance(report, Line) or doubt_about(sender, listening=self._listening) is None:
            self._receive(report, sender)


async def receive_reports(end: socket.socket, receive: Receive) -> DatagramTransport:
    """Have ``receive`` called with every report and its sender, until the transport is closed."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Receiver(receive, end.getsockname()[1]), sock=end)
    return transport


class _Asking(DatagramProtocol):
    def __init__(self, address: Address) -> None:
        self._address = address
        self.reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, address: tuple[Any, ...]) -> None:
        if not self.reply.done() and Address.of(address) == self._address:
            self.reply.set_result(data)

    def error_received(self, error: Exception) -> None:
        if not self.reply.done():
            self.reply.set_exception(error)


async def ask(address: Address, command: str, *, limit_s: float = REPLY_LIMIT_S) -> str:
    """Send a command to an application of this machine as one datagram and return the reply, as printable text.

    Raises
    ------
    LinkError
        Nobody answered within ``limit_s`` seconds.
    """
    loop = asyncio.get_running_loop()
    # A socket for each command: what comes to it is the reply to that one, however late an earlier one comes.
    transport, asking = await loop.create_datagram_endpoint(
        lambda: _Asking(address), sock=sending_socket(socket.AF_INET)
    )
    try:
        transport.sendto(command.encode(), address)
        reply = await asyncio.wait_for(asking.reply, limit_s)
    except TimeoutError:
        raise LinkError(f"no answer from {address} within {limit_s:g} s") from None
    except OSError as error:
        raise LinkError(f"no answer from {address}: {error.strerror or error}") from None
    finally:
        transport.close()
        with suppress(asyncio.CancelledError, OSError):
            asking.reply.cancel()
    return "".join(letter for letter in reply.decode(errors="replace") if letter.isprintable())
