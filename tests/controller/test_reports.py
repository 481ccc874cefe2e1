from __future__ import annotations

import asyncio
import socket
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.controller.reports import AskIO, EndIO, Line, ask, parse_report, receive_reports
from flexmpi.errors import LinkError
from flexmpi.protocol.address import Address
from flexmpi.runtime.supervisor.listener import listen
from tests.udp import needs_root, strangers_socket


@pytest.mark.parametrize(
    ("datagram", "report"),
    [
        (b"ACQIO: 4000", AskIO(4000)),
        (b"ACQIO:0\n", AskIO(0)),
        (b"ACQIO: n/a", AskIO(None)),
        (b"RELQIO\0\0", EndIO()),
        (b"[compute-1] rtime 1 size 4\n", Line("[compute-1] rtime 1 size 4")),
        (b"ACQIO: lots", Line("ACQIO: lots")),
        (b"\x1b[2Jred \xff", Line("�[2Jred �")),
    ],
)
def test_a_datagram_asks_for_io_ends_it_or_is_a_line_to_show(datagram: bytes, report: object) -> None:
    assert parse_report(datagram) == report


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.binary(max_size=100))
def test_no_datagram_gives_more_than_one_printable_line(datagram: bytes) -> None:
    report = parse_report(datagram)
    assert not isinstance(report, Line) or report.text.isprintable()


def test_a_command_is_answered_with_its_own_reply() -> None:
    async def echo(data: bytes, sender: str) -> str:
        if data == b"slow":
            await asyncio.sleep(0.05)
        return f"ok: {data.decode()}\n"

    async def both() -> list[str]:
        transport, address = await listen(Address("127.0.0.1", 0), echo)
        try:
            return list(await asyncio.gather(ask(address, "slow"), ask(address, "quick")))
        finally:
            transport.close()

    assert asyncio.run(both()) == ["ok: slow", "ok: quick"]


def test_nobody_listening_is_noticed_at_once_and_silence_after_the_limit() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        address = Address(*silent.getsockname())
        with pytest.raises(LinkError, match=f"no answer from {address} within 0.05 s"):
            asyncio.run(ask(address, "4:on", limit_s=0.05))
    began = time.monotonic()
    with pytest.raises(LinkError, match=f"no answer from {address}: Connection refused"):
        asyncio.run(ask(address, "4:on", limit_s=30))
    assert time.monotonic() - began < 10


@needs_root
def test_turns_at_io_are_asked_for_and_ended_by_this_users_applications_only() -> None:
    async def scenario() -> list[object]:
        taken: asyncio.Queue[object] = asyncio.Queue()
        end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        end.bind(("127.0.0.1", 0))
        end.setblocking(False)
        transport = await receive_reports(end, lambda report, sender: taken.put_nowait(report))
        try:
            with strangers_socket() as stranger, socket.socket(type=socket.SOCK_DGRAM) as own:
                for sender, text in (
                    (stranger, b"RELQIO"),
                    (stranger, b"ACQIO: 7"),
                    (stranger, b"hi"),
                    (own, b"RELQIO"),
                ):
                    sender.sendto(text, end.getsockname())
                async with asyncio.timeout(10.0):
                    return [await taken.get(), await taken.get()]
        finally:
            transport.close()

    assert asyncio.run(scenario()) == [Line("hi"), EndIO()]
