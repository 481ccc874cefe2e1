"""Signed commands: good for one command, one job, one key."""

from __future__ import annotations

import pytest

from flexmpi.protocol.commands import split_token
from flexmpi.protocol.signatures import greeted, is_signed, nonce_of, number_of, sign

KEY, JOB, NONCE = b"k" * 32, "0" * 32, "a" * 32


def test_a_signature_stands_where_a_token_does_and_proves_its_command() -> None:
    token, command = split_token(sign(b"12:a@b: c", key=KEY, job=JOB, nonce=NONCE) + b"\0\0")
    assert command == b"12:a@b: c"
    assert token is not None
    assert nonce_of(token) == NONCE
    assert is_signed(token, command, key=KEY, job=JOB)


@pytest.mark.parametrize(
    ("command", "key", "job"),
    [(b"6:lhost:1", KEY, JOB), (b"5:", b"x" * 32, JOB), (b"5:", KEY, "1" * 32)],
    ids=["another command", "another key", "another job"],
)
def test_a_signature_proves_nothing_else(command: bytes, key: bytes, job: str) -> None:
    token, _ = split_token(sign(b"5:", key=KEY, job=JOB, nonce=NONCE))
    assert token is not None
    assert not is_signed(token, command, key=key, job=job)


def test_a_signature_with_another_nonce_is_another_signature() -> None:
    token, _ = split_token(sign(b"5:", key=KEY, job=JOB, nonce=NONCE))
    assert token is not None
    assert not is_signed("b" * 32 + token[32:], b"5:", key=KEY, job=JOB)


@pytest.mark.parametrize("token", [None, "", "s3cret", "a" * 32, f"{'a' * 32}.{'b' * 63}", f"{'G' * 32}.{'b' * 64}"])
def test_a_word_is_no_signature(token: str | None) -> None:
    assert nonce_of(token) is None


def test_a_jobs_number_is_read_from_its_greeting_only() -> None:
    assert number_of(greeted(JOB)) == JOB
    for reply in ("error: 'hello' is not a command number", "ok: printed", greeted("5:")):
        assert number_of(reply) is None
