"""Authenticated messages between a supervisor and its node launchers: JSON objects <-> bytes, with no socket in sight.

Both ends know the job's key. Each proves it by an HMAC over both ends' nonces; every later message carries an HMAC over its
direction, its number and its text, so none can be changed, repeated, reordered or put in by somebody else.
"""

from __future__ import annotations

import hmac
import json
from typing import Any

from flexmpi.errors import LinkError

Message = dict[str, Any]

NONCE_BYTES = 32
PROOF_BYTES = 32
LENGTH_BYTES = 4
LARGEST_MESSAGE = 64 * 1024 * 1024

HEARTBEAT_S = 5.0
"""How often each end says that it is there."""
SILENT_HEARTBEATS = 6
"""After so many of its own heartbeats without a word from the other end, that is taken for dead."""


def proof(key: bytes, role: str, nonces: bytes) -> bytes:
    """Return what ``role`` ("supervisor" or "launcher") shows to prove that it knows the key."""
    return hmac.digest(key, role.encode() + nonces, "sha256")


def check_proof(key: bytes, role: str, nonces: bytes, shown: bytes) -> None:
    """Compare a proof in constant time.

    Raises
    ------
    LinkError
        The other end does not know the key.
    """
    if not hmac.compare_digest(proof(key, role, nonces), shown):
        raise LinkError(f"the {role} at the other end does not know this job's key")


class Frames:
    """One end of an authenticated connection.

    Parameters
    ----------
    key
        The job's key.
    role
        "supervisor" or "launcher": which end this is.
    nonces
        The supervisor's nonce followed by the launcher's.
    """

    def __init__(self, key: bytes, role: str, nonces: bytes) -> None:
        self._key = hmac.digest(key, b"session" + nonces, "sha256")
        self._out = role.encode()
        self._in = b"launcher" if role == "supervisor" else b"supervisor"
        self._sent = self._received = 0
        self._buffer = bytearray()

    def encode(self, message: Message) -> bytes:
        """Return the bytes of the next message to send."""
        text = json.dumps(message).encode()
        frame = len(text).to_bytes(LENGTH_BYTES, "big") + self._tag(self._out, self._sent, text) + text
        self._sent += 1
        return frame

    def feed(self, data: bytes) -> list[Message]:
        """Take received bytes and return the messages that are complete.

        Raises
        ------
        LinkError
            A message is too long or not the next one of the other end; the connection is of no use any more.
        """
        self._buffer += data
        messages = []
        while (message := self._next()) is not None:
            messages.append(message)
        return messages

    def _next(self) -> Message | None:
        head = LENGTH_BYTES + PROOF_BYTES
        if len(self._buffer) < head:
            return None
        length = int.from_bytes(self._buffer[:LENGTH_BYTES], "big")
        if length > LARGEST_MESSAGE:
            raise LinkError(f"a message of {length} bytes, at most {LARGEST_MESSAGE} were expected")
        if len(self._buffer) < head + length:
            return None
        tag, text = bytes(self._buffer[LENGTH_BYTES:head]), bytes(self._buffer[head : head + length])
        del self._buffer[: head + length]
        if not hmac.compare_digest(tag, self._tag(self._in, self._received, text)):
            raise LinkError("a message that the other end did not send as the next one")
        self._received += 1
        message: Message = json.loads(text)
        return message

    def _tag(self, direction: bytes, number: int, text: bytes) -> bytes:
        return hmac.digest(self._key, direction + number.to_bytes(8, "big") + text, "sha256")
