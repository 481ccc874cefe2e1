"""The UDP listener for text commands: every datagram gets one datagram back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from flexmpi.errors import ConfigurationError

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
        host, _, port = text.rpartition(":")
        if not port.isdecimal() or int(port) > 65535 or (":" in text and not host):
            raise ConfigurationError(f"{option} must be PORT or HOST:PORT with a port of 0 to 65535, got {text!r}")
        return cls(host or "127.0.0.1", int(port))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host == "localhost" or self.host.startswith("127.")

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class _Protocol(asyncio.DatagramProtocol):
    def __init__(self, answer: Callable[[bytes, str], Awaitable[str]]) -> None:
        self._answer = answer
        self._answering: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        task = asyncio.create_task(self._reply(data, address))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _reply(self, data: bytes, address: tuple[str, int]) -> None:
        try:
            reply = await self._answer(data, f"{address[0]}:{address[1]}")
        except Exception as error:
            # Whoever asked must not wait in vain.
            reply = f"error: the command failed: {type(error).__name__}: {error}"
        if not self._transport.is_closing():
            self._transport.sendto(reply.encode(errors="replace")[:LARGEST_DATAGRAM], address)


async def listen(
    address: Address, answer: Callable[[bytes, str], Awaitable[str]]
) -> tuple[asyncio.DatagramTransport, Address]:
    """Answer datagrams at ``address`` until the transport is closed.

    Parameters
    ----------
    address
        Port 0 takes any free port.
    answer
        Gets the datagram and its sender, returns the reply.

    Returns
    -------
    DatagramTransport, Address
        The second says the port in use.

    Raises
    ------
    ConfigurationError
        The address cannot be listened at.
    """
    loop = asyncio.get_running_loop()
    try:
        transport, _ = await loop.create_datagram_endpoint(
            lambda: _Protocol(answer), local_addr=(address.host, address.port)
        )
    except OSError as error:
        raise ConfigurationError(f"cannot listen for commands at UDP {address}: {error.strerror or error}") from None
    host, port = transport.get_extra_info("sockname")[:2]
    return transport, Address(host, port)
