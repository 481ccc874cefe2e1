"""The agent, played by a test over a real encrypted socket: it hears jobs and orders what the test wants."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import zmq
import zmq.auth
import zmq.auth.thread

from flexmpi.protocol.auth import Identity, identify
from flexmpi.protocol.messages import (
    Acknowledged,
    Done,
    Failed,
    FromAgent,
    FromSupervisor,
    Held,
    Refused,
    Register,
    Registered,
    Resize,
    decode_from_supervisor,
)
from flexmpi.protocol.wire import encode
from flexmpi.trust.contact import Card, publish
from flexmpi.trust.curve import secure_server, sender_key
from flexmpi.trust.keys import CurveKeys, agent_keys, local_key
from tests.applications import REPOSITORY

LIMIT_S = 60.0
SERVES = "import sys; from pathlib import Path; from tests.agents import ScriptedAgent; \
agent = ScriptedAgent(Path(sys.argv[1])); print(agent.port, flush=True); sys.stdin.read()"

M = TypeVar("M")


@contextmanager
def stopped_agent(folder: Path) -> Iterator[int]:
    """Have an agent that is told of in a folder and that has been sent SIGSTOP; yields its port."""
    command = [sys.executable, "-c", SERVES, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPOSITORY, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED)
            yield port
        finally:
            process.kill()


class ScriptedAgent:
    """An agent at a port of its own, told of in a folder.

    Parameters
    ----------
    folder
        Where its keys and its card are.
    keys
        Those it has; the folder's where None.
    """

    def __init__(self, folder: Path, *, port: int = 0, keys: CurveKeys | None = None) -> None:
        self.folder = folder
        self.keys = keys or agent_keys(folder)
        self.authority = local_key(folder, make=True)
        self._context = zmq.Context()
        self._authenticator = zmq.auth.thread.ThreadAuthenticator(self._context)
        self._authenticator.start()
        self._authenticator.configure_curve(domain="*", location=zmq.auth.CURVE_ALLOW_ANY)
        self._socket = self._context.socket(zmq.ROUTER)
        secure_server(self._socket, self.keys)
        self._socket.bind(f"tcp://127.0.0.1:{port or '*'}")
        self.port = int(self._socket.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])
        self.seen: list[FromSupervisor] = []
        self._route = b""
        self._key = ""
        publish(folder, Card(address=f"tcp://127.0.0.1:{self.port}", authority="local"))

    def hear(self, *, limit_s: float = LIMIT_S) -> FromSupervisor:
        """Return the next message."""
        if not self._socket.poll(limit_s * 1000):
            raise AssertionError(f"heard nothing for {limit_s} s; before: {self.seen[-3:]}")
        route, frame = self._socket.recv_multipart(copy=False)
        self._route, self._key = route.bytes, sender_key(frame)
        self.seen.append(decode_from_supervisor(frame.bytes))
        return self.seen[-1]

    def until(self, kind: type[M], *, limit_s: float = LIMIT_S, **wanted: object) -> M:
        """Return the next message of a kind whose fields have these values."""
        end = time.monotonic() + limit_s
        while True:
            message = self.hear(limit_s=max(0.0, end - time.monotonic()))
            if isinstance(message, kind) and all(getattr(message, name) == value for name, value in wanted.items()):
                return message

    def silent(self) -> bool:
        """Whether nothing has been said to this agent."""
        return not self._socket.poll(0)

    def tell(self, message: FromAgent) -> None:
        """Say something to whoever was heard last."""
        self._socket.send_multipart([self._route, encode(message)])

    def tell_bytes(self, data: bytes) -> None:
        """Say anything to whoever was heard last."""
        self._socket.send_multipart([self._route, data])

    def identity_of(self, said: Register) -> Identity:
        """Return whose credential came with the message that was heard last."""
        return identify(self.authority, said.credential, client_key=self._key, server_key=self.keys.public)

    def admit(self, *, epoch: int = 0) -> Register:
        """Wait for a job that registers, and let it."""
        said = self.until(Register)
        self.identity_of(said)
        self.tell(Registered(epoch=epoch))
        return said

    def resize(self, *, epoch: int = 1, **fields: Any) -> Resize:
        """Order a resize and return the command."""
        command = Resize(id=secrets.token_hex(4), epoch=epoch, cause="test", **fields)
        self.tell(command)
        return command

    def carried_out(self, command: Resize) -> Done:
        """Wait until a command is acknowledged and done."""
        self.until(Acknowledged, id=command.id)
        while not isinstance(message := self.hear(), Done):
            assert not isinstance(message, Failed | Refused), message
        assert message.id == command.id
        return message

    def close(self) -> None:
        """Be gone; the card stays."""
        self._authenticator.stop()
        self._context.destroy(linger=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def held(nodes: Held) -> dict[str, int]:
    return {one.node: one.ranks for one in nodes}
