"""What the service manager is told, over a real socket; and that the agent does without one."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from flexmpi.scheduler.agent.notify import notify

LIMIT_S = 30


@pytest.fixture(params=["file", "abstract"])
def manager(request, monkeypatch, tmp_path) -> Iterator[socket.socket]:
    """The service manager's end."""
    name = f"flexmpi-test-{os.getpid()}" if request.param == "abstract" else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.settimeout(LIMIT_S)
        listening.bind(f"\0{name}" if request.param == "abstract" else name)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}" if request.param == "abstract" else name)
        yield listening


def test_the_service_manager_is_told(manager):
    assert notify("READY=1")
    assert notify("STOPPING=1", "STATUS=two\nlines, äöü \ud800")
    assert manager.recv(1000) == b"READY=1"
    assert manager.recv(1000) == "STOPPING=1\nSTATUS=two lines, äöü ?".encode()


def test_nobody_is_told_where_there_is_no_service_manager(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", "")
    assert not notify("READY=1")


def test_a_service_manager_that_is_gone_or_nonsense_does_no_harm(monkeypatch, tmp_path):
    for address in (tmp_path / "none", "x" * 300, "vsock-stream:1:2"):
        monkeypatch.setenv("NOTIFY_SOCKET", str(address))
        assert not notify("READY=1")


def test_a_service_manager_that_does_not_read_holds_the_agent_up_for_a_moment_only(manager):
    told = 0
    while notify(f"STATUS={'x' * 1000}"):  # until the queue is full
        told += 1
    assert told > 0
    assert manager.recv(2000).startswith(b"STATUS=x")
    assert notify("WATCHDOG=1")
