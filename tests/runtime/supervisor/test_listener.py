"""The UDP listener: every datagram gets one datagram back, whatever it says and whatever happens to the command."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.cli.send import ask
from flexmpi.errors import ConfigurationError
from flexmpi.protocol.address import LARGEST_DATAGRAM, Address
from flexmpi.runtime.machine.datagrams import resolved
from flexmpi.runtime.supervisor.listener import close, listen, refuse
from tests.udp import needs_ipv6

LIMIT_S = 10.0
LOOPBACK = Address("127.0.0.1", 0)

properties = settings(derandomize=True, deadline=None, max_examples=100)


async def exchange(
    answer: Callable[[bytes, str], Awaitable[str]],
    *datagrams: bytes,
    listening: Address = LOOPBACK,
    replies: int | None = None,
) -> list[bytes]:
    """Send datagrams one after the other to a listener with such answers, and return the (last) replies."""
    transport, bound = await listen(listening, answer)
    loop = asyncio.get_running_loop()
    silent = 0 if replies is None else len(datagrams) - replies
    received = []
    try:
        with socket.socket(socket.AF_INET6 if ":" in bound.host else socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.connect(bound)
            async with asyncio.timeout(LIMIT_S):
                for number, datagram in enumerate(datagrams):
                    await loop.sock_sendall(sender, datagram)
                    if number >= silent:
                        received.append(await loop.sock_recv(sender, 1 << 16))
    finally:
        transport.close()
    return received


def test_every_datagram_gets_its_answer_back() -> None:
    async def answer(data: bytes, sender: str) -> str:
        assert re.fullmatch(r"127\.0\.0\.1:\d+", sender)
        return data.decode(errors="replace").upper()

    assert asyncio.run(exchange(answer, b"6:a:1", b"\xff")) == [b"6:A:1", "\ufffd".encode()]


def test_a_command_that_fails_by_a_mistake_of_ours_is_answered_too() -> None:
    async def answer(data: bytes, sender: str) -> str:
        raise KeyError(data.decode())

    assert asyncio.run(exchange(answer, b"6")) == [b"error: the command failed: KeyError: '6'"]


def test_a_reply_longer_than_a_datagram_is_cut() -> None:
    async def answer(data: bytes, sender: str) -> str:
        return "x" * 100_000

    assert asyncio.run(exchange(answer, b"?")) == [b"x" * LARGEST_DATAGRAM]


def test_commands_are_answered_that_wait_when_the_job_ends() -> None:
    begun = asyncio.Event()

    async def answer(data: bytes, sender: str) -> str:
        begun.set()
        await asyncio.Event().wait()
        return "never"

    async def scenario() -> None:
        transport, bound = await listen(Address("127.0.0.1", 0), answer)
        with socket.socket(type=socket.SOCK_DGRAM) as sender:
            sender.settimeout(LIMIT_S)
            sender.connect(bound)
            sender.send(b"begun")
            async with asyncio.timeout(LIMIT_S):
                await begun.wait()
            sender.send(b"just come")
            refuse(transport, "the application has ended")
            await close(transport)
            assert [sender.recv(100), sender.recv(100)] == [b"error: the application has ended"] * 2

    asyncio.run(scenario())


def test_commands_are_answered_that_come_while_the_job_ends_and_refused_by_the_system_later() -> None:
    async def answer(data: bytes, sender: str) -> str:
        raise AssertionError("nothing is carried out any more")

    async def scenario() -> None:
        transport, bound = await listen(Address("127.0.0.1", 0), answer)
        with socket.socket(type=socket.SOCK_DGRAM) as sender:
            sender.settimeout(LIMIT_S)
            sender.connect(bound)
            refuse(transport, "the application has ended")
            for _ in range(20):
                sender.send(b"6:lhost:1")
            await close(transport)
            assert [sender.recv(100) for _ in range(20)] == [b"error: the application has ended"] * 20
            sender.send(b"6:lhost:1")
            with pytest.raises(ConnectionRefusedError):
                sender.recv(100)

    asyncio.run(scenario())


def test_a_port_in_use_is_an_error_that_names_it() -> None:
    async def answer(data: bytes, sender: str) -> str:
        return ""

    async def scenario(port: int) -> None:
        await listen(Address("127.0.0.1", port), answer)

    with socket.socket(type=socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(
            ConfigurationError, match=f"cannot listen for commands at UDP 127.0.0.1:{port}: Address already"
        ):
            asyncio.run(scenario(port))


def test_a_name_with_addresses_of_both_families_is_listened_at_by_ipv4_whichever_comes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    six = (socket.AF_INET6, socket.SOCK_DGRAM, 17, "", ("::1", 0, 0, 0))
    four = (socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("127.0.0.1", 0))

    async def bound() -> Address:
        with monkeypatch.context() as patched:
            patched.setattr(socket, "getaddrinfo", lambda *_, **__: [six, four])
            addresses = resolved(Address("localhost", 0), what="--listen")
        assert addresses == [(socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_INET6, ("::1", 0))]
        transport, address = await listen(addresses[0][1], nothing)
        transport.close()
        return address

    assert asyncio.run(bound()).is_loopback


async def nothing(data: bytes, sender: str) -> str:
    return ""


@needs_ipv6
def test_an_ipv6_address_is_listened_at_and_its_senders_are_answered() -> None:
    async def answer(data: bytes, sender: str) -> str:
        assert re.fullmatch(r"\[::1\]:\d+", sender)
        return data.decode().upper()

    assert asyncio.run(exchange(answer, b"6:a:1", listening=Address("::1", 0))) == [b"6:A:1"]


@needs_ipv6
def test_at_every_address_of_both_families_a_sender_by_ipv4_is_called_so() -> None:
    async def answer(data: bytes, sender: str) -> str:
        return sender

    async def scenario() -> str:
        transport, bound = await listen(Address("::", 0), answer)
        try:
            return await asyncio.to_thread(ask, Address("127.0.0.1", bound.port), "?")
        finally:
            transport.close()

    assert re.fullmatch(r"127\.0\.0\.1:\d+", asyncio.run(scenario()))


def test_replies_are_not_replied_to_so_that_two_jobs_cannot_be_set_on_each_other() -> None:
    async def answer(data: bytes, sender: str) -> str:
        return f"error: {data.decode()}"

    assert asyncio.run(exchange(answer, b"error: no", b"ok: yes", b"6:", replies=1)) == [b"error: 6:"]


def test_a_host_that_is_not_known_is_an_error_that_names_it() -> None:
    with pytest.raises(ConfigurationError, match=r"--listen: host 'no\.such\.host\.invalid' is not known: "):
        asyncio.run(listen(Address("no.such.host.invalid", 0), nothing))


@properties
@given(
    st.sampled_from(["", "localhost:", "127.0.0.1:", "[::1]:", "node-3.cluster:", "[fd00::2]:"]), st.integers(0, 65535)
)
def test_addresses_are_read_as_they_are_shown(host: str, port: int) -> None:
    address = Address.parse(f"{host}{port}", option="--listen")
    assert address == (host.rstrip(":").strip("[]") or "127.0.0.1", port)
    assert Address.parse(str(address), option="--listen") == address
    assert address.is_loopback == (not host.startswith(("node", "[fd")))


not_a_port = st.text(max_size=10).filter(lambda text: not text.rpartition(":")[2].isdecimal())


@properties
@given(not_a_port | st.integers(65536).map(str) | st.just(":7"))
def test_what_is_no_address_is_refused_with_the_option_it_was_given_to(text: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"^--report must be PORT or HOST:PORT with a port of 0 to 65535, got "
    ):
        Address.parse(text, option="--report")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("::1:6666", "an IPv6 address needs brackets, as [::1]:6666, got '::1:6666'"),
        ("[host]:6666", "an IPv6 address stands in brackets, as [::1]:6666, got '[host]:6666'"),
        ("[::1:6666", "an IPv6 address needs brackets, as [::1]:6666, got '[::1:6666'"),
    ],
)
def test_an_ipv6_address_without_its_brackets_is_refused_with_how_it_is_written(text: str, why: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Address.parse(text, option="--listen")
    assert str(raised.value) == f"--listen: {why}"
