"""What a person at a terminal sees: lists that fit it, and a progress bar while a command waits."""

from __future__ import annotations

import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flexmpi.protocol.messages import Done
from flexmpi.protocol.replies import Accepted, HistoryList, HistoryRow, JobList, JobRow
from flexmpi.protocol.requests import AnyRequest
from flexmpi.protocol.wire import Message
from tests.cli.conftest import Serve
from tests.terminal import LIMIT_S, Terminal

WHAT = "expand 12 by node3"
HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"

OnTerminal = Callable[..., Terminal]


@pytest.fixture
def on_terminal(tmp_path: Path) -> Iterator[OnTerminal]:
    """Run `flexmpi` on a terminal."""
    terminals: list[Terminal] = []

    def start(*arguments: str, columns: int = 100) -> Terminal:
        command = [sys.executable, "-m", "flexmpi.cli", *arguments]
        terminals.append(Terminal(command, folder=tmp_path, columns=columns))
        return terminals[-1]

    yield start
    for terminal in terminals:
        terminal.close()


@pytest.fixture
def release(serve: Serve) -> Iterator[threading.Event]:
    """An agent that accepts everything, and carries it out once this is set."""
    may_end = threading.Event()

    def script(request: AnyRequest) -> Iterator[Message]:
        yield Accepted(id="c7", what=WHAT, job="12")
        assert may_end.wait(LIMIT_S)
        yield Done(id="c7")

    serve(script)
    yield may_end
    may_end.set()


def plain(screen: bytes) -> str:
    """What is left on a screen of its text."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", screen.decode())


def test_a_bar_moves_while_a_command_waits_and_one_line_is_left(
    on_terminal: OnTerminal, release: threading.Event
) -> None:
    terminal = on_terminal("expand", "12", "--wait")
    terminal.wait_for(HIDE_CURSOR)
    terminal.wait_for("━")
    terminal.wait_for("0:00:01")
    assert WHAT in plain(terminal.screen)
    release.set()
    assert terminal.finish() == 0
    shown = terminal.screen.decode()
    assert SHOW_CURSOR in shown
    # The bar's line is erased before the outcome is written in its place.
    assert shown.rpartition("\x1b[2K")[2].strip() == f"done: {WHAT}"
    assert "accepted" not in shown


def test_who_interrupts_the_waiting_is_told_that_the_change_goes_on(
    on_terminal: OnTerminal, release: threading.Event
) -> None:
    terminal = on_terminal("expand", "12", "--wait")
    terminal.wait_for("━")
    terminal.process.send_signal(signal.SIGINT)  # what a terminal does at Ctrl-C
    assert terminal.finish() == 130
    assert f"flexmpi: no longer waiting; it goes on: {WHAT} (see flexmpi history 12)" in plain(terminal.screen)
    assert SHOW_CURSOR in terminal.screen.decode()


@pytest.mark.parametrize("command", [("jobs",), ("expand", "12", "--wait")])
def test_who_interrupts_before_the_agent_answers_is_told_so(
    on_terminal: OnTerminal, serve: Serve, command: tuple[str, ...]
) -> None:
    agent = serve(lambda request: [])
    terminal = on_terminal(*command)
    assert agent.asked.get(timeout=LIMIT_S)
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.finish() == 130
    assert "flexmpi: interrupted before the agent has answered: tcp://127.0.0.1:" in plain(terminal.screen)


def test_a_list_is_as_wide_as_the_terminal_and_loses_nothing(on_terminal: OnTerminal, serve: Serve) -> None:
    why = "[red]only this much[/] " + "of a long reason " * 8
    row = JobRow(
        job="12", name="heat", uid=1, user="ana", state="running", elastic=True, nodes=("node1", "node2"), ranks=8,
        minimum_nodes=1, maximum_nodes=6, node_hours=0.5, why=why,
    )  # fmt: skip
    serve(lambda request: [JobList(jobs=(row,))])
    terminal = on_terminal("jobs", columns=100)
    assert terminal.finish() == 0
    lines = plain(terminal.screen).splitlines()
    assert lines[0].split() == ["JOB", "NAME", "USER", "STATE", "SIZE", "RANKS", "NODE_HOURS", "NODES", "WHY"]
    assert lines[1].startswith(" 12  heat  ana   running  2 (1-6)      8        0.50  node[1-2]  [red]only")
    assert len(lines) > 3
    assert all(len(line) <= 100 for line in lines)
    assert " ".join(line[lines[0].index("WHY") :].strip() for line in lines[1:]) == why.strip()


def test_where_a_terminal_is_too_narrow_for_readable_columns_it_breaks_the_rows(
    on_terminal: OnTerminal, serve: Serve
) -> None:
    row = HistoryRow(
        id="c7", decided_at=1e9, job="12", what="job 12: add 2 nodes (node[2-3])", outcome="done",
        cause="policy fill: idle nodes that nobody waits for", why="a reason that is as long",
    )  # fmt: skip
    serve(lambda request: [HistoryList(entries=(row,))])
    terminal = on_terminal("history", columns=80)
    assert terminal.finish() == 0
    shown = plain(terminal.screen).splitlines()[1]
    assert shown.endswith(
        "add 2 nodes (node[2-3])  policy fill: idle nodes that nobody waits for  a reason that is as long"
    )
