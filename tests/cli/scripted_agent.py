"""An agent that answers what a test tells it to: its socket, keys, credentials and messages are real, its replies a script."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import zmq
import zmq.asyncio

from flexmpi.protocol.auth import Identity, identify
from flexmpi.protocol.requests import AnyRequest, decode_request
from flexmpi.protocol.wire import Message, encode
from flexmpi.trust.contact import Card, publish
from flexmpi.trust.curve import admit_clients, secure_server, sender_key
from flexmpi.trust.keys import agent_keys, local_key

LIMIT_S = 60.0
LOOK_S = 0.02

Script = Callable[[Any], Iterable[Message]]


class ScriptedAgent:
    """An agent in a thread of this process.

    Parameters
    ----------
    folder
        For its keys and its card.
    script
        Returns the replies to a request, or yields them as late as the test wants: nothing else waits for them.
    """

    def __init__(self, folder: Path, script: Script) -> None:
        self.folder = folder
        self.asked: queue.Queue[AnyRequest] = queue.Queue()
        self.owners: list[Identity] = []
        self._script = script
        self._keys = agent_keys(folder)
        self._authority = local_key(folder, make=True)
        self._listening = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="scripted agent")
        self._thread.start()
        assert self._listening.wait(LIMIT_S)

    async def _serve(self) -> None:
        context = zmq.asyncio.Context()
        admitted = admit_clients(context)
        try:
            socket = context.socket(zmq.ROUTER)
            secure_server(socket, self._keys)
            port = socket.bind_to_random_port("tcp://127.0.0.1")
            publish(self.folder, Card(address=f"tcp://127.0.0.1:{port}", authority="local"))
            self._listening.set()
            answers = set()
            while not self._over.is_set():
                if await socket.poll(1000 * LOOK_S):
                    answers.add(asyncio.create_task(self._answer(socket, await socket.recv_multipart(copy=False))))
            await asyncio.gather(*answers)
        finally:
            admitted.stop()
            context.destroy(linger=0)

    async def _answer(self, socket: zmq.asyncio.Socket, message: list[zmq.Frame]) -> None:
        route, frame = message
        request = decode_request(frame.bytes)
        keys = {"client_key": sender_key(frame), "server_key": self._keys.public}
        self.owners.append(identify(self._authority, request.credential, **keys))
        self.asked.put(request)
        replies = iter(self._script(request))
        while (reply := await asyncio.to_thread(next, replies, None)) is not None:
            await socket.send_multipart([route.bytes, encode(reply)])

    def close(self) -> None:
        """Stop it, and wait until it has."""
        self._over.set()
        self._thread.join(LIMIT_S)
        assert not self._thread.is_alive()
