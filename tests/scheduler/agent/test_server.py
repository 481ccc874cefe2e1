"""Where the agent's socket is reached: by addresses of both families."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import zmq.asyncio

from flexmpi.scheduler.agent.server import Server
from flexmpi.trust import curve
from flexmpi.trust.contact import Card, publish, read_contact
from flexmpi.trust.keys import agent_keys, local_key
from tests.udp import needs_ipv6

LIMIT_S = 20.0


def heard(folder: Path, *, listen: str, at: str) -> bytes:
    """Have an agent listen, tell of an address, and return what it hears from a client that goes there."""
    keys = agent_keys(folder)
    local_key(folder, make=True)

    async def scenario() -> bytes:
        context = zmq.asyncio.Context()
        with Server(listen, keys) as server:
            publish(folder, Card(address=f"tcp://{at}:{server.port}", authority="local"))
            connection = read_contact(folder).dial(context)
            try:
                async with asyncio.timeout(LIMIT_S):
                    await connection.socket.send(b"hello")
                    return (await server.receive())[1]
            finally:
                context.destroy(linger=0)

    return asyncio.run(scenario())


@pytest.mark.parametrize(
    ("listen", "at"),
    [
        ("tcp://*:0", "127.0.0.1"),
        ("tcp://*:0", "localhost"),
        ("tcp://localhost:0", "localhost"),
        pytest.param("tcp://*:0", "[::1]", marks=needs_ipv6),
        pytest.param("tcp://[::1]:0", "[::1]", marks=needs_ipv6),
        pytest.param("tcp://[::]:0", "[::1]", marks=needs_ipv6),
    ],
)
def test_an_agent_is_reached_where_it_says_it_is(tmp_path: Path, listen: str, at: str) -> None:
    assert heard(tmp_path / "agent", listen=listen, at=at) == b"hello"


@needs_ipv6
def test_a_name_that_has_no_address_but_of_ipv6_is_reached_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ZeroMQ looks it up in the family that it is told, which it is for this name."""
    known = {"six": ["::1"], "both": ["::1", "127.0.0.1"]}

    def getaddrinfo(host: str, port: None) -> list[tuple[object, ...]]:
        families = [curve.AF_INET6 if ":" in address else curve.AF_INET for address in known[host]]
        return [(family, 1, 6, "", ()) for family in families]

    monkeypatch.setattr(curve, "getaddrinfo", getaddrinfo)
    assert curve.means_ipv6("tcp://six:7117")
    assert not curve.means_ipv6("tcp://both:7117")
    agent_keys(tmp_path)
    publish(tmp_path, Card(address="tcp://six:7117", authority="local"))
    assert read_contact(tmp_path).by_ipv6
