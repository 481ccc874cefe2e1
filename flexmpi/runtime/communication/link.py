"""A rank's line to its node launcher: JSON lines over a Unix socket.

Standard library only, and no thread: a rank looks here at an agreement point, or sleeps here while it waits to join.
"""

from __future__ import annotations

import json
import socket
from time import monotonic
from typing import Any

from flexmpi.errors import LinkError

Message = dict[str, Any]

_current: Link | None = None


class Link:
    """The connection of one rank to its node launcher.

    Parameters
    ----------
    path
        The launcher's Unix socket.

    Raises
    ------
    LinkError
        The launcher is not there.
    """

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise LinkError(f"cannot reach the node launcher at {path}: {error.strerror}") from None
        self._received = b""
        self._set_aside: list[Message] = []

    def send(self, kind: str, **fields: object) -> None:
        """Send one message; it is on its way when this returns."""
        try:
            self._socket.sendall(json.dumps({"kind": kind, **fields}).encode() + b"\n")
        except OSError as error:
            raise LinkError(f"the node launcher is gone: {error.strerror}") from None

    def poll(self) -> list[Message]:
        """Return the messages that have arrived, without waiting."""
        while self._read(socket.MSG_DONTWAIT):
            pass
        *lines, self._received = self._received.split(b"\n")
        earlier, self._set_aside = self._set_aside, []
        return earlier + [json.loads(line) for line in lines]

    def has_arrived(self, kind: str) -> bool:
        """Tell, without waiting and without taking it, whether a message of this kind is there."""
        while self._read(socket.MSG_DONTWAIT):
            pass
        return any(json.loads(line)["kind"] == kind for line in self._received.split(b"\n")[:-1])

    def await_reply(self, *kinds: str, limit_s: float | None = None) -> Message | None:
        """Sleep until a message of one of these kinds is there, or for so long; others are set aside for `poll` or the next."""
        for place, message in enumerate(self._set_aside):
            if message["kind"] in kinds:
                return self._set_aside.pop(place)
        end = None if limit_s is None else monotonic() + limit_s
        while True:
            while b"\n" in self._received:
                message = self._next()
                if message["kind"] in kinds:
                    return message
                self._set_aside.append(message)
            self._socket.settimeout(None if end is None else max(1e-3, end - monotonic()))
            try:
                self._read(0)
            except TimeoutError:
                return None
            finally:
                self._socket.settimeout(None)

    def receive(self) -> Message:
        """Sleep until a message is there and return it; whoever waits here is ended by its launcher, never forgotten."""
        while b"\n" not in self._received:
            self._read(0)
        return self._next()

    def _next(self) -> Message:
        line, self._received = self._received.split(b"\n", 1)
        message: Message = json.loads(line)
        return message

    def wait_for(self, *kinds: str) -> Message:
        """Sleep until a message of one of these kinds is there; others are of a past that no longer matters."""
        self._set_aside.clear()
        while (message := self.receive())["kind"] not in kinds:
            pass
        return message

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _read(self, flags: int) -> bool:
        try:
            data = self._socket.recv(65536, flags)
        except BlockingIOError:
            return False
        except TimeoutError:
            raise
        except OSError as error:
            raise LinkError(f"the node launcher is gone: {error.strerror}") from None
        if not data:
            raise LinkError("the node launcher has hung up")
        self._received += data
        return True


def open_to(path: str) -> Link:
    """Open this process's link, once, to the socket of its node launcher."""
    global _current
    _current = Link(path)
    return _current


def current() -> Link | None:
    """Return this process's link, or None where no node launcher started it (plain ``python`` or ``mpiexec``)."""
    return _current


def forget() -> None:
    """Be a process, as a child of a rank is, that no node launcher has started."""
    global _current
    if _current is not None:
        _current.close()
        _current = None
