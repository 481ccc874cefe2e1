"""`flexmpi send`: which address of a name it finds a job at, and what it signs."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from flexmpi.cli.send import ask
from flexmpi.errors import ConfigurationError, LinkError
from flexmpi.protocol.address import Address
from flexmpi.protocol.commands import split_token
from flexmpi.protocol.signatures import GREETING, greeted, is_signed
from flexmpi.runtime.supervisor.listener import listen
from tests.udp import needs_ipv6

KEY, JOB = b"k" * 32, "0" * 32
LIMIT_S = 10.0


@contextmanager
def listening(address: Address, answer: Callable[[bytes], str]) -> Iterator[Address]:
    """A listener in a thread of its own."""
    bound: list[Address] = []
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    over = asyncio.Event()

    async def serve() -> None:
        async def reply(data: bytes, sender: str) -> str:
            return answer(data)

        transport, at = await listen(address, reply)
        bound.append(at)
        ready.set()
        await over.wait()
        transport.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(LIMIT_S)
        yield bound[0]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(LIMIT_S)
        loop.close()


@needs_ipv6
def test_a_job_is_found_at_whichever_address_of_a_name_it_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(Address("::1", 0), lambda data: f"ok: {data.decode()}") as bound:
        four = (socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("127.0.0.1", bound.port))
        six = (socket.AF_INET6, socket.SOCK_DGRAM, 17, "", ("::1", bound.port, 0, 0))
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [four, six])
        assert ask(Address("both", bound.port), "3:") == "ok: 3:"


@needs_ipv6
@pytest.mark.parametrize("host", ["::1", "::"])
def test_an_ipv6_address_is_sent_to(host: str) -> None:
    with listening(Address(host, 0), lambda data: f"ok: {data.decode()}") as bound:
        assert ask(bound, "3:") == "ok: 3:"


def test_a_job_that_listens_at_every_address_is_found_at_the_one_it_names() -> None:
    with listening(Address("0.0.0.0", 0), lambda data: f"ok: {data.decode()}") as bound:
        assert ask(bound, "3:") == "ok: 3:"


def test_a_closed_port_is_refused_at_once_by_an_error_that_names_it() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as end:
        end.bind(("127.0.0.1", 0))
        port = end.getsockname()[1]
    with pytest.raises(LinkError, match=f"cannot send to 127.0.0.1:{port}: Connection refused"):
        ask(Address("127.0.0.1", port), "3:", limit_s=60)


def test_a_host_that_is_not_known_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"the address: host 'no\.such\.host\.invalid' is not known"):
        ask(Address("no.such.host.invalid", 6666), "3:")


def test_with_a_key_the_command_is_signed_for_the_job_that_listens_there() -> None:
    heard: list[bytes] = []

    def answer(data: bytes) -> str:
        heard.append(data)
        return greeted(JOB) if data == GREETING else "ok: printed"

    with listening(Address("127.0.0.1", 0), answer) as bound:
        assert ask(bound, "12:x", key=KEY) == ask(bound, "12:x", key=KEY) == "ok: printed"
    (token, command), (second, _) = split_token(heard[1]), split_token(heard[3])
    assert command == b"12:x"
    assert token is not None
    assert is_signed(token, command, key=KEY, job=JOB)
    assert token != second, "each has a number of its own"


def test_what_is_no_job_of_this_version_gets_the_command_as_it_is() -> None:
    with listening(Address("127.0.0.1", 0), lambda data: f"error: {data.decode()} is no number") as bound:
        assert ask(bound, "3:", key=KEY) == "error: 3: is no number"


def test_a_command_with_the_jobs_own_token_goes_as_it_is() -> None:
    heard: list[bytes] = []

    def answer(data: bytes) -> str:
        heard.append(data)
        return greeted(JOB) if data == GREETING else "ok: printed"

    with listening(Address("127.0.0.1", 0), answer) as bound:
        assert ask(bound, "s3cret@12:x", key=KEY) == "ok: printed"
    assert heard == [b"s3cret@12:x"]


def test_a_job_that_listens_everywhere_is_heard_under_any_loopback_address() -> None:
    with listening(Address("0.0.0.0", 0), lambda _: "ok: printed") as bound:
        assert ask(Address("127.0.1.1", bound.port), "3:") == "ok: printed"
