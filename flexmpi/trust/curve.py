"""ZeroMQ sockets that encrypt and know who is at the other end: the agent's by its key, a client by its own.

Every key is let in: who a client is, its credential proves, which `auth` compares with the key of the connection.
"""

from __future__ import annotations

import asyncio
from socket import AF_INET, AF_INET6, getaddrinfo
from typing import Any

import zmq
import zmq.asyncio
import zmq.auth
from zmq.auth.base import Authenticator

from flexmpi.errors import AuthenticationError
from flexmpi.protocol.wire import LARGEST_MESSAGE_BYTES
from flexmpi.trust.keys import CurveKeys

ZAP_DOMAIN = b"flexmpi"


class Admission(Authenticator):
    """Lets every client in whose key is its own, in a running loop; pyzmq's for asyncio leaves its reader in the loop."""

    zap_socket: Any  # an asynchronous one: the context's own kind

    def start(self) -> None:
        """Begin to answer ZeroMQ's questions."""
        self.zap_socket = self.context.socket(zmq.REP)
        self.zap_socket.linger = 1
        self.zap_socket.bind("inproc://zeromq.zap.01")
        self.configure_curve(domain="*", location=zmq.auth.CURVE_ALLOW_ANY)
        self._task = asyncio.create_task(self._answer())

    async def _answer(self) -> None:
        while True:
            await self.handle_zap_message(await self.zap_socket.recv_multipart())

    def stop(self) -> None:
        """Let nobody in any more."""
        self._task.cancel()
        self.zap_socket.close(linger=0)


def admit_clients(context: zmq.asyncio.Context) -> Admission:
    """Have ZeroMQ note each client's public key; needed before `secure_server`, in the same context and a running loop.

    Without it no client is let in. Whoever calls this calls ``stop()`` of what it returns.
    """
    admission = Admission(context)
    admission.start()
    return admission


def secure_server(socket: zmq.Socket[Any], keys: CurveKeys) -> None:
    """Prepare the agent's socket, before it is bound."""
    socket.curve_server = True
    socket.curve_publickey, socket.curve_secretkey = keys.public.encode(), keys.secret.encode()
    socket.zap_domain = ZAP_DOMAIN
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # else a server without authenticator lets all in, nameless
    _bound(socket)


def secure_client(socket: zmq.Socket[Any], keys: CurveKeys, *, server_key: str) -> None:
    """Prepare a client's socket, before it is connected: it speaks to the server that has this key and no other."""
    socket.curve_serverkey = server_key.encode()
    socket.curve_publickey, socket.curve_secretkey = keys.public.encode(), keys.secret.encode()
    _bound(socket)


def sender_key(frame: zmq.Frame) -> str:
    """Return the public key (Z85) of the connection that a message came over, from any frame of it (``copy=False``).

    Raises
    ------
    AuthenticationError
        The socket does not tell: it was not prepared by `secure_server`.
    """
    try:
        key = frame.get("User-Id")
    except zmq.ZMQError:
        key = None
    if not isinstance(key, str) or not key:
        raise AuthenticationError("the connection has no key, which only an encrypted one has")
    return key


def means_ipv6(endpoint: str) -> bool:
    """Say whether ``tcp://HOST:PORT`` is reached by IPv6: an address in brackets, or a name that has no IPv4 address.

    ZeroMQ looks a name up in one family, which it is told. May block for as long as the name service takes.
    """
    host = endpoint.removeprefix("tcp://").rpartition(":")[0]
    if host.startswith("["):
        return True
    try:
        families = {family for family, *_ in getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return False  # ZeroMQ looks again
    return AF_INET6 in families and AF_INET not in families


def _bound(socket: zmq.Socket[Any]) -> None:
    socket.setsockopt(zmq.MAXMSGSIZE, LARGEST_MESSAGE_BYTES)
    socket.linger = 0
