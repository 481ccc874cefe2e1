"""The supervisor's end of its node launchers: a TCP server that admits only launchers that know the job's key."""

from __future__ import annotations

import asyncio
import secrets
import socket
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from flexmpi.errors import LinkError
from flexmpi.protocol.address import LOOPBACK
from flexmpi.protocol.frames import (
    HEARTBEAT_S,
    NONCE_BYTES,
    PROOF_BYTES,
    SILENT_HEARTBEATS,
    Frames,
    Message,
    check_proof,
    proof,
)

HANDSHAKE_LIMIT_S = 10.0
HANDSHAKES_AT_ONCE = 100
"""Of more connections that have not proved themselves the oldest are closed; a launcher needs some milliseconds."""
CLOSE_LIMIT_S = 2.0
KEY_BYTES = 32


@dataclass
class LauncherLine:
    """The connection to one node's launcher, the cores its ranks can be bound to, and its folder on its node."""

    node: str
    frames: Frames
    writer: StreamWriter
    cores: frozenset[int] = frozenset()
    folder: Path = Path()
    silent_heartbeats: int = 0

    def send(self, kind: str, **fields: object) -> None:
        """Send a message; nothing happens where the launcher is gone, which is reported elsewhere."""
        if not self.writer.is_closing():
            self.writer.write(self.frames.encode({"kind": kind, **fields}))


@dataclass
class Gateway:
    """Listens for node launchers and hands their messages on.

    Parameters
    ----------
    on_message
        Called with the node's name and each message.
    on_arrival
        Called with a launcher that has proved itself and its first message; False if nobody waits for it.
    on_lost
        Called with the node's name when its launcher's connection has ended.

    Attributes
    ----------
    addresses
        Where launchers find this gateway, the best first: ``HOST:PORT``.
    """

    on_message: Callable[[str, Message], None]
    on_arrival: Callable[[LauncherLine, Message], bool]
    on_lost: Callable[[str], None]
    key: bytes = field(default_factory=lambda: secrets.token_bytes(KEY_BYTES))
    lines: dict[str, LauncherLine] = field(default_factory=dict)
    addresses: tuple[str, ...] = ()
    _strangers: dict[StreamWriter, None] = field(default_factory=dict)
    _connections: set[asyncio.Task[None]] = field(default_factory=set)
    _closing: bool = False

    async def open(self, names: Sequence[str] = ()) -> None:
        """Start listening at a free port: of the loopback, or of every address where launchers know this host by names."""
        self._server = await asyncio.start_server(self._serve, sock=_listening_socket(every_address=bool(names)))
        port = self._server.sockets[0].getsockname()[1]
        self.addresses = tuple(f"{name}:{port}" for name in names or (LOOPBACK,))
        self._pulse = asyncio.create_task(self._heartbeat())

    def stop_launchers(self) -> None:
        """Tell the launchers to end all they have started, those that are still on their way too."""
        self._closing = True
        for line in self.lines.values():
            line.send("stop")

    async def close(self) -> None:
        """Hear the launchers out, which have been stopped, and hang up."""
        self._pulse.cancel()
        self._server.close()
        for writer in list(self._strangers):
            writer.transport.abort()
        if self._connections:
            await asyncio.wait(self._connections, timeout=CLOSE_LIMIT_S)
        for task in self._connections:
            task.cancel()

    async def _heartbeat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            for line in self.lines.values():
                line.send("alive")
                line.silent_heartbeats += 1
                if line.silent_heartbeats > SILENT_HEARTBEATS:
                    line.writer.transport.abort()

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
        line, awaited = None, False
        try:
            frames = await self._admit(reader, writer)
            while data := await reader.read(1 << 16):
                for message in frames.feed(data):
                    if line is None:
                        cores, folder = frozenset(message["cores"]), Path(message["folder"])
                        line = LauncherLine(str(message["node"]), frames, writer, cores, folder)
                        awaited = self._take_in(line, message)
                    line.silent_heartbeats = 0
                    if awaited:
                        self.on_message(line.node, message)
        except (LinkError, OSError, EOFError):
            # Not one of ours, or gone: either way this connection is over, and a launcher that is missing is noticed.
            pass
        finally:
            with suppress(OSError):
                writer.close()
            if line is not None and self.lines.get(line.node) is line:
                del self.lines[line.node]
                self.on_lost(line.node)

    def _take_in(self, line: LauncherLine, hello: Message) -> bool:
        if self._closing:
            line.send("stop")
            return False
        if awaited := self.on_arrival(line, hello):
            self.lines[line.node] = line
        return awaited

    async def _admit(self, reader: StreamReader, writer: StreamWriter) -> Frames:
        """Let one in that knows the key."""
        self._strangers[writer] = None
        if len(self._strangers) > HANDSHAKES_AT_ONCE:
            next(iter(self._strangers)).transport.abort()
        try:
            async with asyncio.timeout(HANDSHAKE_LIMIT_S):
                return await self._shake_hands(reader, writer)
        finally:
            del self._strangers[writer]

    async def _shake_hands(self, reader: StreamReader, writer: StreamWriter) -> Frames:
        nonce = secrets.token_bytes(NONCE_BYTES)
        writer.write(nonce)
        nonces = nonce + await reader.readexactly(NONCE_BYTES)
        check_proof(self.key, "launcher", nonces, await reader.readexactly(PROOF_BYTES))
        writer.write(proof(self.key, "supervisor", nonces))
        return Frames(self.key, "supervisor", nonces)


def _listening_socket(*, every_address: bool) -> socket.socket:
    """Return a socket at a free port, of both families where the machine has both."""
    if not every_address:
        return socket.create_server((LOOPBACK, 0))
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", 0))
