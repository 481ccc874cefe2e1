"""The supervisor's line to launchers: who is let in, who is heard, and who is taken for dead."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress

import pytest

from flexmpi.protocol.frames import NONCE_BYTES, proof
from flexmpi.runtime.providers import gateway as gateways
from tests.runtime.gateways import HELLO, LIMIT_S, admitted, supervisor
from tests.udp import needs_ipv6


def test_who_knows_the_key_is_heard() -> None:
    async def scenario() -> None:
        async with supervisor() as ours:
            _, writer, frames = await admitted(ours.port, ours.gateway.key)
            writer.write(frames.encode(HELLO) + frames.encode({"kind": "alive"}))
            await ours.until(lambda: len(ours.heard) == 2)
            assert ours.line.cores == {0}
            writer.close()
            await ours.until(lambda: ours.lost == ["n0"])
            assert ours.gateway.lines == {}

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "words",
    [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        secrets.token_bytes(1000),
        bytes(NONCE_BYTES) + proof(bytes(32), "launcher", bytes(64)),
    ],
    ids=["nothing", "http", "noise", "another key"],
)
def test_who_does_not_know_the_key_gets_a_nonce_and_nothing_more(words: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateways, "HANDSHAKE_LIMIT_S", 0.2)

    async def scenario() -> None:
        async with supervisor() as ours:
            reader, writer = await asyncio.open_connection("127.0.0.1", ours.port)
            writer.write(words)
            received = b""
            with suppress(ConnectionError):
                async with asyncio.timeout(LIMIT_S):
                    received = await reader.read()
            assert len(received) <= NONCE_BYTES
            writer.close()
            assert (ours.heard, ours.lost, ours.gateway.lines) == ([], [], {})

    asyncio.run(scenario())


def test_a_message_that_was_tampered_with_ends_the_connection_unheard() -> None:
    async def scenario() -> None:
        async with supervisor() as ours:
            _, writer, frames = await admitted(ours.port, ours.gateway.key)
            writer.write(frames.encode(HELLO))
            await ours.until(lambda: bool(ours.heard))
            frame = bytearray(frames.encode({"kind": "pset_ended"}))
            frame[-2] ^= 1
            writer.write(frame)
            await ours.until(lambda: ours.lost == ["n0"])
            assert [message["kind"] for message in ours.heard] == ["hello"]
            writer.close()

    asyncio.run(scenario())


def test_two_hundred_who_say_nothing_keep_no_launcher_out() -> None:
    async def scenario() -> None:
        async with supervisor() as ours:
            silent = [await asyncio.open_connection("127.0.0.1", ours.port) for _ in range(200)]
            _, writer, frames = await admitted(ours.port, ours.gateway.key)
            writer.write(frames.encode(HELLO))
            await ours.until(lambda: len(ours.heard) == 1)
            assert len(ours.gateway._strangers) <= gateways.HANDSHAKES_AT_ONCE
            for _, other in (*silent, (None, writer)):
                other.close()

    asyncio.run(scenario())


def test_a_launcher_that_says_nothing_any_more_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateways, "HEARTBEAT_S", 0.02)

    async def scenario() -> None:
        async with supervisor() as ours:
            _, writer, frames = await admitted(ours.port, ours.gateway.key)
            writer.write(frames.encode(HELLO))
            await ours.until(lambda: ours.lost == ["n0"])
            writer.close()

    asyncio.run(scenario())


def test_a_launcher_that_comes_when_the_job_ends_is_told_to_stop() -> None:
    async def scenario() -> None:
        async with supervisor() as ours:
            ours.gateway.stop_launchers()
            reader, writer, frames = await admitted(ours.port, ours.gateway.key)
            writer.write(frames.encode(HELLO))
            async with asyncio.timeout(LIMIT_S):
                assert frames.feed(await reader.read(1 << 16)) == [{"kind": "stop"}]
            assert ours.heard == []
            writer.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
def test_launchers_that_know_this_host_by_a_name_reach_it_by_both_families_of_addresses(host: str) -> None:
    async def scenario() -> None:
        async with supervisor(host) as ours:
            (address,) = ours.gateway.addresses
            assert address == f"{host}:{ours.port}"
            _, writer, frames = await admitted(ours.port, ours.gateway.key, host=host)
            writer.write(frames.encode(HELLO))
            await ours.until(lambda: len(ours.heard) == 1)
            writer.close()
            await ours.until(lambda: ours.lost == ["n0"])

    asyncio.run(scenario())


@needs_ipv6
def test_without_names_the_loopback_alone_is_listened_at() -> None:
    async def scenario() -> None:
        async with supervisor() as ours:
            assert ours.gateway.addresses == (f"127.0.0.1:{ours.port}",)
            with pytest.raises(OSError, match=r"refused|Connect call failed"):
                await asyncio.open_connection("::1", ours.port)

    asyncio.run(scenario())
