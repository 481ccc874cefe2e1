"""The README's program is run as the README says, and prints what the README shows."""

from __future__ import annotations

import ast
import math
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.applications import COREFILES, REPOSITORY, Application

README = (REPOSITORY / "README.md").read_text()
STEPS = "1500"  # fewer than the README's, and enough for the order to settle
HOST = "vm"  # where the README's lines come from


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def session(command: str) -> tuple[list[str], list[str]]:
    """The words of a command that the README shows, and the lines it shows below."""
    block = next(block for block in blocks("console") if block.startswith(f"$ {command} "))
    first, *shown = block.splitlines()
    return shlex.split(first.removeprefix("$ ")), shown


def shape(line: str) -> re.Pattern[str]:
    """Match lines that differ from this one in their numbers and the host's name only."""
    pattern = re.sub(r"\d+(\\\.\d+)*", lambda _: r"\d+(\.\d+)*", re.escape(line))
    return re.compile(re.sub(rf"\b{HOST}\b", r"\\S+", pattern))


def test_the_program_has_twenty_lines_at_most() -> None:
    (program,) = blocks("python")
    ast.parse(program)
    assert len(program.splitlines()) <= 20


def test_the_program_grows_while_it_runs_and_prints_what_is_shown(
    start: Callable[..., Application], tmp_path: Path
) -> None:
    (flexmpi, subcommand, *options, script, _), shown = session("flexmpi run")
    (_, _, _, command), (reply,) = session("flexmpi send")
    assert (flexmpi, subcommand) == ("flexmpi", "run")
    (tmp_path / script).write_text(blocks("python")[0])
    # Any free port for the README's, and nodes with cores enough wherever this runs.
    options[options.index("--listen") + 1] = "0"
    application = start(*options, f"--corefile={COREFILES / 'demo.core'}", tmp_path / script, STEPS)
    application.wait_for("sample")
    assert shape(reply).fullmatch(application.send(command))
    assert application.wait_for("reconfiguration")["ranks_after"] == 2
    status, output, errors = application.finish()
    assert (status, errors) == (0, "")
    printed = iter(output.splitlines())
    for line in shown:
        assert line == "..." or any(shape(line).fullmatch(candidate) for candidate in printed), line
    order = re.search(rf"^order (\S+) after {STEPS} steps, 2 ranks at the end$", output, re.MULTILINE)
    assert order is not None
    assert float(order[1]) == pytest.approx(math.sqrt(1 - 2 / 4.0), abs=0.01)
