"""The agent as a service: a real `flexmpi agent`, and the socket at which a service manager hears how it fares."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

LIMIT_S = 60
SETTINGS = """
[agent]
folder = "agent"
journal = "{journal}"
listen = "tcp://127.0.0.1:0"
advertise = "127.0.0.1"
tick_s = 0.1
authority = "local"
[manager]
kind = "local"
corefile = "nodes.core"
"""


@contextmanager
def service(folder: Path, *, journal: str = "journal.sqlite") -> Iterator[tuple[subprocess.Popen[str], socket.socket]]:
    """Run the agent as systemd does with ``Type=notify``, and listen to it."""
    (folder / "agent.toml").write_text(SETTINGS.format(journal=journal))
    (folder / "nodes.core").write_text("node1:2:node\n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.settimeout(LIMIT_S)
        listening.bind(str(folder / "notify"))
        command = [sys.executable, "-m", "flexmpi.cli", "agent", "--config=agent.toml"]
        environment = {**os.environ, "NOTIFY_SOCKET": str(folder / "notify")}
        with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as process:
            try:
                yield process, listening
            finally:
                process.kill()


def test_a_service_manager_hears_that_the_agent_is_ready_lives_and_stops(tmp_path: Path) -> None:
    with service(tmp_path) as (process, heard):
        assert heard.recv(1000) == b"READY=1"
        # It is ready when others can find and reach it.
        assert (tmp_path / "agent" / "agent.json").exists()
        assert [heard.recv(1000) for _ in range(3)] == [b"WATCHDOG=1"] * 3
        process.send_signal(signal.SIGTERM)
        while (last := heard.recv(1000)) == b"WATCHDOG=1":
            pass
        assert last == b"STOPPING=1"
        assert process.wait(LIMIT_S) == 0


def test_an_agent_that_cannot_start_ends_and_never_says_that_it_is_ready(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("no journal" * 100)
    with service(tmp_path, journal="journal") as (process, heard):
        assert process.wait(LIMIT_S) != 0
        assert process.stderr is not None and "journal" in process.stderr.read()
        heard.setblocking(False)
        with pytest.raises(BlockingIOError):
            heard.recv(1000)
