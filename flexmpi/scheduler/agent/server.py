"""The agent's socket: messages in with the key of their connection, messages out to a key. Nothing is understood here."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import zmq
import zmq.asyncio

from flexmpi.errors import AuthenticationError, ConfigurationError
from flexmpi.protocol.wire import Message, encode
from flexmpi.trust.curve import admit_clients, means_ipv6, secure_server, sender_key
from flexmpi.trust.keys import CurveKeys

HEARTBEAT_MS = 5_000
HEARTBEAT_LIMIT_MS = 20_000
ROUTES_KEPT = 100_000


class Server:
    """One encrypted ROUTER socket, for jobs and people alike.

    Parameters
    ----------
    endpoint
        Where to listen: ``tcp://*:7117``; with port 0 the system chooses.
    keys
        The agent's own.

    Raises
    ------
    ConfigurationError
        It cannot listen there.
    """

    def __init__(self, endpoint: str, keys: CurveKeys) -> None:
        self.key = keys.public
        self._context = zmq.asyncio.Context()
        self._authenticator = admit_clients(self._context)
        self._socket = self._context.socket(zmq.ROUTER)
        secure_server(self._socket, keys)
        self._socket.heartbeat_ivl, self._socket.heartbeat_timeout = HEARTBEAT_MS, HEARTBEAT_LIMIT_MS
        # At every address means those of both families.
        self._socket.ipv6 = endpoint.startswith("tcp://*") or means_ipv6(endpoint)
        self._routes: dict[bytes, bytes] = {}
        try:
            self._socket.bind(endpoint)
        except zmq.ZMQError as error:
            self._end()
            raise ConfigurationError(f"cannot listen at {endpoint}: {error.strerror}") from None

    @property
    def port(self) -> int:
        """The port it listens at."""
        return int(bytes(self._socket.getsockopt(zmq.LAST_ENDPOINT)).rsplit(b":", 1)[1])

    async def receive(self) -> tuple[bytes, bytes]:
        """Return the next message and the key of its connection; what is no single frame, or has no key, is passed over."""
        while True:
            frames = await self._socket.recv_multipart(copy=False)
            if len(frames) != 2:
                continue
            try:
                key = sender_key(frames[1]).encode()
            except AuthenticationError:
                continue
            self._routes.pop(key, None)
            self._routes[key] = frames[0].bytes
            if len(self._routes) > ROUTES_KEPT:
                del self._routes[next(iter(self._routes))]
            return key, frames[1].bytes

    def send(self, key: bytes, message: Message) -> None:
        """Send a message to the connection that this key was last heard from; to one that is gone nothing is sent."""
        if (route := self._routes.get(key)) is not None:
            # A ROUTER drops what it cannot deliver at once: whoever needs it hears it again.
            self._socket.send_multipart([route, encode(message)])

    def _end(self) -> None:
        self._authenticator.stop()
        self._context.destroy(linger=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()
