"""Commands that prove by whom they are sent: signed with a key of their user's, for one job and one time.

Who sends asks the job for its number first, which no other job has, so that nothing said to one can be said to another.
Pure: no socket, no file, no clock.
"""

from __future__ import annotations

import hmac
import re

GREETING = b"hello"
"""Asks a job for its number; anybody may."""
NONCE_BYTES = 16

_PURPOSE = b"flexmpi-command/1"
_GREETED = re.compile(r"ok: flexmpi ([0-9a-f]{32})")
_SIGNATURE = re.compile(r"([0-9a-f]{32})\.[0-9a-f]{64}")


def greeted(number: str) -> str:
    """Return a job's reply to a greeting."""
    return f"ok: flexmpi {number}"


def number_of(reply: str) -> str | None:
    """Return the number in a job's reply to a greeting; None where it is no such reply."""
    found = _GREETED.fullmatch(reply)
    return None if found is None else found[1]


def sign(command: bytes, *, key: bytes, job: str, nonce: str) -> bytes:
    """Return a command with its signature before it, as a token stands there.

    Parameters
    ----------
    job
        The job's number, which it tells whoever greets it.
    nonce
        32 hexadecimal digits that were never used.
    """
    return f"{nonce}.{_tag(command, key=key, job=job, nonce=nonce)}@".encode() + command


def nonce_of(token: str | None) -> str | None:
    """Return the number used once of a signature; None for a token that is none."""
    found = _SIGNATURE.fullmatch(token or "")
    return None if found is None else found[1]


def is_signed(token: str, command: bytes, *, key: bytes, job: str) -> bool:
    """Say whether a signature is that of this command to this job, by somebody who knows the key."""
    nonce, _, tag = token.partition(".")
    return hmac.compare_digest(tag, _tag(command, key=key, job=job, nonce=nonce))


def _tag(command: bytes, *, key: bytes, job: str, nonce: str) -> str:
    return hmac.digest(key, b"\0".join((_PURPOSE, job.encode(), nonce.encode(), command)), "sha256").hex()
