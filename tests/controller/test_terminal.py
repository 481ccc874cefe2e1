"""The prompt as a person has it: a controller on a pseudo-terminal, and lines from pipes."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flexmpi.controller.terminal import piped_lines
from tests.applications import wait_until
from tests.controller.conftest import free_port
from tests.terminal import LIMIT_S, Terminal

PROMPTING = "\x1b[?2004h"  # what the prompt writes first: from here on, pastes are bracketed


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """A terminal with a controller that has nothing to run for an hour."""
    (tmp_path / "applications.toml").write_text(f'[jio]\nscript = "{__file__}"\n')
    (tmp_path / "later.batch").write_text("T 3600 jio:1:1:1:1:1:1:1\n")
    command = [sys.executable, "-m", "flexmpi.cli", "controller", "--folder=run", "--batch=later.batch"]
    shown = Terminal(
        [*command, "--applications=applications.toml", f"--first-port={free_port()}"],
        folder=tmp_path,
        # Without asking the terminal where its cursor is, which nobody would answer.
        environment={"PROMPT_TOOLKIT_NO_CPR": "1"},
    )
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
    assert terminal.finish() == 0
    assert [line for line in (tmp_path / "run" / "history").read_text().splitlines() if line.startswith("+")] == [
        "+-3 2", "+help", "+-3 2",
    ]  # fmt: skip


def test_ctrl_c_ends_all(terminal: Terminal) -> None:
    terminal.wait_for(PROMPTING)
    terminal.press("\x03")
    assert terminal.finish() == 0


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
