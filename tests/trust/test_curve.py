from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import zmq
import zmq.asyncio
from zmq.utils.monitor import recv_monitor_message

from flexmpi.errors import AuthenticationError
from flexmpi.protocol.auth import Identity, SharedKey, identify, prove
from flexmpi.protocol.messages import Registered, Unknown, decode_from_agent
from flexmpi.protocol.wire import LARGEST_MESSAGE_BYTES, encode
from flexmpi.trust.curve import admit_clients, secure_client, secure_server, sender_key
from flexmpi.trust.keys import CurveKeys

LIMIT_S = 20.0
SUCCEEDED = zmq.Event.HANDSHAKE_SUCCEEDED
FAILED = zmq.Event.HANDSHAKE_FAILED_AUTH | zmq.Event.HANDSHAKE_FAILED_PROTOCOL | zmq.Event.HANDSHAKE_FAILED_NO_DETAIL


class Server:
    """An agent's socket on loopback."""

    def __init__(self, context: zmq.asyncio.Context, keys: CurveKeys) -> None:
        self.keys = keys
        self.socket = context.socket(zmq.ROUTER)
        secure_server(self.socket, keys)
        self.address = f"tcp://127.0.0.1:{self.socket.bind_to_random_port('tcp://127.0.0.1')}"

    async def receive(self) -> tuple[str, bytes, bytes]:
        """The key of a connection, its routing id and what came over it."""
        route, frame = await asyncio.wait_for(self.socket.recv_multipart(copy=False), LIMIT_S)
        assert sender_key(route) == sender_key(frame)
        return sender_key(frame), route.bytes, frame.bytes


@asynccontextmanager
async def serving(*, authenticator: bool = True) -> AsyncIterator[tuple[zmq.asyncio.Context, Server]]:
    context = zmq.asyncio.Context()
    admitted = admit_clients(context) if authenticator else None
    try:
        yield context, Server(context, CurveKeys.fresh())
    finally:
        if admitted is not None:
            admitted.stop()
        context.destroy(linger=0)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 2 * LIMIT_S))


def client(context: zmq.asyncio.Context, server: Server, keys: CurveKeys | None = None) -> zmq.asyncio.Socket:
    socket = context.socket(zmq.DEALER)
    secure_client(socket, keys or CurveKeys.fresh(), server_key=server.keys.public)
    socket.connect(server.address)
    return socket


async def event_after(cause: Coroutine[Any, Any, None], *, on: zmq.asyncio.Socket, events: int) -> int:
    """Do something and return the first of these events on a socket."""
    monitor = on.get_monitor_socket(events)
    received: Awaitable[dict[str, Any]] = recv_monitor_message(monitor)
    try:
        await asyncio.wait_for(cause, LIMIT_S)
        return (await asyncio.wait_for(received, LIMIT_S))["event"]
    finally:
        on.disable_monitor()
        monitor.close(linger=0)


async def let_me_in(socket: zmq.asyncio.Socket, server: Server) -> None:
    """Connect, and have something to say as soon as that is possible."""
    socket.connect(server.address)
    await socket.send(b"let me in")


async def only_hello_arrives(context: zmq.asyncio.Context, server: Server, *, beside: zmq.asyncio.Socket) -> None:
    """A client that may speak is heard and answered, while the one beside is not heard and gets nothing."""
    keys = CurveKeys.fresh()
    with client(context, server, keys) as socket:
        await socket.send(b"hello")
        key, route, text = await server.receive()
        assert (key, text) == (keys.public, b"hello")
        await server.socket.send_multipart([route, encode(Unknown())])
        assert decode_from_agent(await asyncio.wait_for(socket.recv(), LIMIT_S)) == Unknown()
    assert not await server.socket.poll(0)
    assert not await beside.poll(0)


def test_the_server_learns_the_clients_key_and_can_compare_a_credential_with_it() -> None:
    authority = SharedKey(b"k" * 32, Identity(1000, 100))

    async def test() -> None:
        async with serving() as (context, server):
            keys = CurveKeys.fresh()
            socket = client(context, server, keys)
            await socket.send(prove(authority, client_key=keys.public, server_key=server.keys.public).encode())
            key, route, credential = await server.receive()
            assert key == keys.public
            found = identify(authority, credential.decode(), client_key=key, server_key=server.keys.public)
            assert found == Identity(1000, 100)
            await server.socket.send_multipart([route, encode(Registered(epoch=3))])
            assert decode_from_agent(await asyncio.wait_for(socket.recv(), LIMIT_S)) == Registered(epoch=3)

            thief = client(context, server)
            await thief.send(credential)
            key, _, relayed = await server.receive()
            assert relayed == credential
            with pytest.raises(AuthenticationError, match="made for another connection"):
                identify(authority, relayed.decode(), client_key=key, server_key=server.keys.public)

    run(test)


def test_a_client_cannot_show_the_key_of_another() -> None:
    async def test() -> None:
        async with serving() as (context, server):
            owner, thief = CurveKeys.fresh(), CurveKeys.fresh()
            socket = context.socket(zmq.DEALER)
            secure_client(socket, CurveKeys(owner.public, thief.secret), server_key=server.keys.public)
            ends = FAILED | SUCCEEDED
            event = await event_after(let_me_in(socket, server), on=server.socket, events=ends)
            assert event == zmq.Event.HANDSHAKE_FAILED_PROTOCOL
            await only_hello_arrives(context, server, beside=socket)

    run(test)


def test_each_connection_has_its_own_key() -> None:
    async def test() -> None:
        async with serving() as (context, server):
            keys = [CurveKeys.fresh() for _ in range(3)]
            sockets = [client(context, server, pair) for pair in keys]
            for pair, socket in zip(keys, sockets, strict=True):
                await socket.send(pair.public.encode())
            received = [await server.receive() for _ in keys]
            assert all(key.encode() == text for key, _, text in received)
            assert {key for key, _, _ in received} == {pair.public for pair in keys}

    run(test)


@pytest.mark.parametrize("knows", ["another server's key", "no encryption"])
def test_a_client_without_the_servers_public_key_gets_nothing(knows: str) -> None:
    async def test() -> None:
        async with serving() as (context, server):
            socket = context.socket(zmq.DEALER)
            socket.linger = 0
            if knows == "another server's key":
                secure_client(socket, CurveKeys.fresh(), server_key=CurveKeys.fresh().public)
            ends = FAILED | SUCCEEDED
            event = await event_after(let_me_in(socket, server), on=server.socket, events=ends)
            assert event == zmq.Event.HANDSHAKE_FAILED_PROTOCOL
            await only_hello_arrives(context, server, beside=socket)

    run(test)


def test_a_server_that_cannot_tell_its_clients_apart_lets_none_in() -> None:
    async def test() -> None:
        async with serving(authenticator=False) as (context, server):
            socket = context.socket(zmq.DEALER)
            secure_client(socket, CurveKeys.fresh(), server_key=server.keys.public)
            ends = FAILED | SUCCEEDED | zmq.Event.DISCONNECTED
            event = await event_after(let_me_in(socket, server), on=socket, events=ends)
            assert event != SUCCEEDED
            assert not await server.socket.poll(0)

    run(test)


def test_a_message_too_long_is_not_received_and_ends_its_connection() -> None:
    async def test() -> None:
        async with serving() as (context, server):
            socket = client(context, server)
            await socket.send(b"first")
            assert (await server.receive())[2] == b"first"

            async def send_too_much() -> None:
                await socket.send(b"x" * (LARGEST_MESSAGE_BYTES + 1))

            gone = zmq.Event.DISCONNECTED
            assert await event_after(send_too_much(), on=server.socket, events=gone) == gone
            assert not await server.socket.poll(0)

    run(test)


def test_a_connection_without_encryption_has_no_key() -> None:
    async def test() -> None:
        with zmq.asyncio.Context() as context, context.socket(zmq.PAIR) as end, context.socket(zmq.PAIR) as other:
            end.bind("inproc://plain")
            other.connect("inproc://plain")
            await other.send(b"hello")
            frame = await asyncio.wait_for(end.recv(copy=False), LIMIT_S)
            with pytest.raises(AuthenticationError, match="the connection has no key"):
                sender_key(frame)

    run(test)
