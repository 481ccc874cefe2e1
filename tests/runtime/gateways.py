"""A gateway to launchers, with a supervisor of the test's own behind it, and what connects to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from flexmpi.protocol.frames import NONCE_BYTES, PROOF_BYTES, Frames, Message, proof
from flexmpi.runtime.providers.gateway import Gateway, LauncherLine

LIMIT_S = 20.0
HELLO = {"kind": "hello", "node": "n0", "request": 1, "cores": [0], "folder": "/nowhere"}


class Supervisor:
    """What a gateway reports to, in a test."""

    def __init__(self) -> None:
        self.heard: list[Message] = []
        self.lost: list[str] = []
        self.news = asyncio.Event()
        self.gateway = Gateway(self.hear, lambda line, hello: True, self.lose)

    def hear(self, node: str, message: Message) -> None:
        self.heard.append(message)
        self.news.set()

    def lose(self, node: str) -> None:
        self.lost.append(node)
        self.news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not condition():
                self.news.clear()
                await self.news.wait()

    @property
    def line(self) -> LauncherLine:
        return self.gateway.lines["n0"]

    @property
    def port(self) -> int:
        return int(self.gateway.addresses[0].rpartition(":")[2])


@asynccontextmanager
async def supervisor(*names: str) -> AsyncIterator[Supervisor]:
    """A gateway that listens, to others who know this host by names, and hears nothing from a real job."""
    opened = Supervisor()
    await opened.gateway.open(names)
    try:
        yield opened
    finally:
        opened.gateway.stop_launchers()
        await opened.gateway.close()


async def admitted(
    port: int, key: bytes, *, host: str = "127.0.0.1"
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, Frames]:
    """Connect as a launcher does."""
    reader, writer = await asyncio.open_connection(host, port)
    nonces = await reader.readexactly(NONCE_BYTES) + bytes(NONCE_BYTES)
    writer.write(bytes(NONCE_BYTES) + proof(key, "launcher", nonces))
    assert await reader.readexactly(PROOF_BYTES) == proof(key, "supervisor", nonces)
    return reader, writer, Frames(key, "launcher", nonces)
