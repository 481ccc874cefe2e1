"""The UDP listener for text commands: every datagram gets one datagram back."""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from flexmpi.errors import ConfigurationError
from flexmpi.protocol.address import LARGEST_DATAGRAM, Address
from flexmpi.runtime.machine.datagrams import resolved

REPLIES = (b"ok: ", b"error: ")


class _Protocol(asyncio.DatagramProtocol):
    def __init__(self, answer: Callable[[bytes, str], Awaitable[str]]) -> None:
        self._answer = answer
        self._answering: dict[asyncio.Task[None], tuple[Any, ...]] = {}
        self._refusal = ""

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, address: tuple[Any, ...]) -> None:
        if data.startswith(REPLIES):
            return  # two jobs that reply to each other's replies would never end
        if self._refusal:
            self._send(self._refusal, address)
            return
        task = asyncio.create_task(self._reply(data, address))
        self._answering[task] = address
        task.add_done_callback(self._answering.pop)

    def refuse(self, why: str) -> None:
        """Answer all that wait, and all that come from now on, with the reason why nothing is done for them."""
        self._refusal = f"error: {why}"
        for task, address in self._answering.items():
            if not task.done():
                task.cancel()
                self._send(self._refusal, address)

    async def _reply(self, data: bytes, address: tuple[Any, ...]) -> None:
        try:
            reply = await self._answer(data, str(Address.of(address)))
        except Exception as error:
            # Whoever asked must not wait in vain.
            reply = f"error: the command failed: {type(error).__name__}: {error}"
        self._send(reply, address)

    def _send(self, reply: str, address: tuple[str, int]) -> None:
        if not self._transport.is_closing():
            self._transport.sendto(reply.encode(errors="replace")[:LARGEST_DATAGRAM], address)


async def listen(
    address: Address, answer: Callable[[bytes, str], Awaitable[str]]
) -> tuple[asyncio.DatagramTransport, Address]:
    """Answer datagrams at ``address`` until the transport is closed.

    Parameters
    ----------
    address
        Port 0 takes any free port. A name that has an IPv4 address is that, else its IPv6 address.
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
    *others, last = (end for _, end in resolved(address, what="--listen"))
    for end in (*others, last):
        try:
            transport, _ = await loop.create_datagram_endpoint(lambda: _Protocol(answer), local_addr=end)
            return transport, Address.of(transport.get_extra_info("sockname"))
        except OSError as error:
            # Where a machine has no IPv4, its loopback's name may still have an address of it.
            if error.errno != errno.EADDRNOTAVAIL or end == last:
                raise ConfigurationError(
                    f"cannot listen for commands at UDP {address}: {error.strerror or error}"
                ) from None
    raise AssertionError("a name that is known has an address")


def refuse(transport: asyncio.DatagramTransport, why: str) -> None:
    """Answer every command with this reason from now on, and those that are being carried out."""
    protocol = transport.get_protocol()
    assert isinstance(protocol, _Protocol)
    protocol.refuse(why)


async def close(transport: asyncio.DatagramTransport) -> None:
    """Answer what has arrived, and stop; the system refuses at once what is sent later, so that nobody waits in vain."""
    with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as same, suppress(OSError):
        # From now on it takes datagrams from itself alone.
        same.connect(same.getsockname())
        while select.select([same], [], [], 0)[0]:
            await asyncio.sleep(0)
    transport.close()
