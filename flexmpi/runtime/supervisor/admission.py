"""Who may command a job: its own user and root, by what the kernel or a signature says, or whoever knows its token.

What a command means is `commander`'s.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from flexmpi.errors import AuthenticationError, CommandError
from flexmpi.protocol.address import Address
from flexmpi.protocol.commands import split_token
from flexmpi.protocol.signatures import NONCE_BYTES, is_signed, nonce_of
from flexmpi.runtime.machine.senders import doubt_about

LINE_EVERY_S = 10.0
"""Who may not command can make the job print a line so often, and no more."""


@dataclass
class Admission:
    """Decides which datagrams are commands of somebody who may command.

    Parameters
    ----------
    token
        What every datagram must begin with (``TOKEN@``), from wherever it comes; None where there is none.
    key
        The user's, by which commands from other machines are signed; None where there is none.
    open_to_all
        Take commands from anybody.

    Attributes
    ----------
    listening
        The port that datagrams come to.
    number
        What tells this job from every other.
    """

    token: str | None = None
    key: bytes | None = field(default=None, repr=False)
    open_to_all: bool = False
    listening: int = 0
    number: str = field(default_factory=lambda: secrets.token_hex(NONCE_BYTES))
    _doubt_about: Callable[..., str | None] = doubt_about
    _used: set[str] = field(default_factory=set)

    def admit(self, datagram: bytes, sender: str) -> bytes:
        """Return the command in a datagram, without what proves whose it is; call it at once, while its sender is there.

        Raises
        ------
        AuthenticationError
            Its sender may not command, or could be anybody.
        """
        try:
            token, command = split_token(datagram)
        except CommandError as error:
            raise AuthenticationError(str(error)) from None
        if self._is_signed(token, command) or self.open_to_all:
            return command
        if self.token is not None:
            if not hmac.compare_digest(self.token.encode(), (token or "").encode()):
                raise AuthenticationError("this application asks for a token before the command (TOKEN@COMMAND)")
            return command
        why = self._doubt_about(Address.parse(sender, option="the sender"), listening=self.listening)
        if why is not None:
            signed = "" if nonce_of(token) is None else ", and it is not signed with this job's user's key"
            raise AuthenticationError(
                f"only this job's own user and root may command it, and this command is not known to be theirs: {why}"
                f"{signed} (flexmpi send proves it with the user's key, TOKEN@ with --token-file)"
            )
        return command

    def _is_signed(self, token: str | None, command: bytes) -> bool:
        nonce = nonce_of(token)
        if self.key is None or token is None or nonce is None:
            return False
        if not is_signed(token, command, key=self.key, job=self.number):
            return False
        if nonce in self._used:
            raise AuthenticationError("this signed command has come before: it counts once")
        self._used.add(nonce)
        return True


@dataclass
class Remarks:
    """Lines about those who were not admitted: one in a while, whatever they send."""

    clock: Callable[[], float] = time.monotonic
    _next_at: float = 0.0
    _passed_over: int = 0

    def about(self, line: str) -> list[str]:
        """Return what to print of one who was not admitted."""
        now = self.clock()
        if now < self._next_at:
            self._passed_over += 1
            return []
        more = f" (and {self._passed_over} others since the last such line)" if self._passed_over else ""
        self._next_at, self._passed_over = now + LINE_EVERY_S, 0
        return [line + more]
