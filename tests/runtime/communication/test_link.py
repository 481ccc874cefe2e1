"""A rank's line to its launcher: what it waits for, what it keeps for later, and what it hears when nobody is there."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from flexmpi.errors import LinkError
from flexmpi.runtime.communication.link import Link


class Launcher:
    """The other end of a link, in the hands of a test."""

    def __init__(self, path: Path) -> None:
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        server.bind(str(path))
        server.listen()
        self.link = Link(str(path))
        self.connection, _ = server.accept()
        server.close()

    def say(self, *kinds: str) -> None:
        self.connection.sendall(b"".join(json.dumps({"kind": kind}).encode() + b"\n" for kind in kinds))


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[Launcher]:
    launcher = Launcher(tmp_path / "ranks.sock")
    yield launcher
    launcher.link.close()
    launcher.connection.close()


def kinds(messages: list[dict[str, object]]) -> list[object]:
    return [message["kind"] for message in messages]


def test_a_reply_is_awaited_and_what_came_before_it_is_kept_in_order(launcher: Launcher) -> None:
    launcher.say("reconfigure", "here", "terminate")
    assert launcher.link.await_reply("here", "withdraw") == {"kind": "here"}
    assert kinds(launcher.link.poll()) == ["reconfigure", "terminate"]
    assert launcher.link.poll() == []


def test_a_reply_that_does_not_come_ends_the_wait_and_loses_nothing(launcher: Launcher) -> None:
    launcher.say("terminate")
    assert launcher.link.await_reply("here", limit_s=0.01) is None
    assert launcher.link.await_reply("here", limit_s=-1.0) is None
    assert kinds(launcher.link.poll()) == ["terminate"]


def test_what_came_while_something_else_was_awaited_is_there_for_the_next_who_waits(launcher: Launcher) -> None:
    launcher.say("port", "here")
    assert launcher.link.await_reply("here") == {"kind": "here"}
    assert launcher.link.await_reply("port", "release", limit_s=60) == {"kind": "port"}
    assert launcher.link.poll() == []


def test_looking_for_a_message_does_not_take_it(launcher: Launcher) -> None:
    assert not launcher.link.has_arrived("withdraw")
    launcher.say("port", "withdraw")
    assert launcher.link.has_arrived("withdraw")
    assert not launcher.link.has_arrived("release")
    assert kinds(launcher.link.poll()) == ["port", "withdraw"]


def test_a_message_that_has_come_in_part_is_not_there_yet(launcher: Launcher) -> None:
    launcher.connection.sendall(b'{"kind": "po')
    assert launcher.link.poll() == []
    assert not launcher.link.has_arrived("port")
    launcher.connection.sendall(b'rt"}\n')
    assert launcher.link.wait_for("port") == {"kind": "port"}


def test_waiting_to_join_forgets_what_is_past(launcher: Launcher) -> None:
    launcher.say("withdraw", "port", "release")
    assert launcher.link.wait_for("port", "release") == {"kind": "port"}
    assert launcher.link.wait_for("port", "release") == {"kind": "release"}


def test_a_launcher_that_is_gone_is_an_error_and_not_a_wait(launcher: Launcher, tmp_path: Path) -> None:
    launcher.connection.close()
    for call in (launcher.link.poll, launcher.link.receive, lambda: launcher.link.await_reply("here", limit_s=60)):
        with pytest.raises(LinkError, match="node launcher"):
            call()
    with pytest.raises(LinkError, match="cannot reach the node launcher"):
        Link(str(tmp_path / "nobody.sock"))
