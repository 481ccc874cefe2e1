"""The prompt as a person has it: a controller on a pseudo-terminal, and lines from pipes."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from flexmpi.controller.terminal import piped_lines
from tests.applications import wait_until
from tests.controller.conftest import free_port

LIMIT_S = 30.0
PROMPTING = "\x1b[?2004h"  # what the prompt writes first: from here on, pastes are bracketed


class Terminal:
    """A terminal with a controller that has nothing to run for an hour."""

    def __init__(self, folder: Path) -> None:
        (folder / "applications.toml").write_text(f'[jio]\nscript = "{__file__}"\n')
        (folder / "later.batch").write_text("T 3600 jio:1:1:1:1:1:1:1\n")
        self.master, end = pty.openpty()
        fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 120, 0, 0))
        command = [sys.executable, "-m", "flexmpi.cli", "controller", "--folder=run", "--batch=later.batch"]
        self.process = subprocess.Popen(
            [*command, "--applications=applications.toml", f"--first-port={free_port()}"],
            stdin=end,
            stdout=end,
            stderr=end,
            cwd=folder,
            # Without asking the terminal where its cursor is, which nobody would answer.
            env={**os.environ, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"},
            start_new_session=True,
        )
        os.close(end)
        self.screen = b""
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        try:
            while data := os.read(self.master, 4096):
                self.screen += data
        except OSError:
            # The other end is closed.
            pass

    def press(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def wait_for(self, text: str) -> None:
        wait_until(lambda: text.encode() in self.screen, what=f"{text!r} is shown", limit_s=LIMIT_S)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(LIMIT_S)
        self._reading.join(LIMIT_S)
        os.close(self.master)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    shown = Terminal(tmp_path)
    yield shown
    shown.close()


def test_a_person_has_completion_and_history_and_ends_all_by_ctrl_d(terminal: Terminal, tmp_path: Path) -> None:
    terminal.wait_for(PROMPTING)
    terminal.press("-3 2\r")
    terminal.wait_for("Allocation of 2: compute-1:2")
    terminal.press("hel")
    terminal.wait_for("help ")  # in the menu that opens by itself; Tab takes its first entry
    terminal.press("\t\r")
    terminal.wait_for("end all applications and this controller")
    terminal.press("\x1b[A\x1b[A\r")
    wait_until(lambda: terminal.screen.count(b"Allocation of 2") == 2, what="the line came again", limit_s=LIMIT_S)
    terminal.press("\x04")
    assert terminal.process.wait(LIMIT_S) == 0
    assert [line for line in (tmp_path / "run" / "history").read_text().splitlines() if line.startswith("+")] == [
        "+-3 2", "+help", "+-3 2",
    ]  # fmt: skip


def test_ctrl_c_ends_all(terminal: Terminal) -> None:
    terminal.wait_for(PROMPTING)
    terminal.press("\x03")
    assert terminal.process.wait(LIMIT_S) == 0


async def all_lines(descriptor: int) -> list[str]:
    return [line async for line in piped_lines(descriptor)]


def test_lines_come_from_a_pipe_the_last_without_its_end(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"0 4:on\n\n1 4:\xff")
    os.close(writing)
    try:
        assert asyncio.run(all_lines(reading)) == ["0 4:on\n", "\n", "1 4:�"]
    finally:
        os.close(reading)


def test_lines_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "commands").write_text("quit\n")
    with (tmp_path / "commands").open() as file:
        assert asyncio.run(all_lines(file.fileno())) == ["quit\n"]
