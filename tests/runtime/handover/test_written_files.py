"""Files that two worlds have open for writing at the same time are warned of, once and with the line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.applications import COREFILES, PROGRAMS, Application

Start = Callable[..., Application]
PROGRAM = PROGRAMS / "written.py"


def expected(folder: Path) -> set[str]:
    """What is to be said, by the comments of the program."""
    marked = [
        (number, line) for number, line in enumerate(PROGRAM.read_text().splitlines(), 1) if "# warned of" in line
    ]
    opened = {line.split('"')[1]: number for number, line in marked}
    assert opened.keys() == {"table.csv", "raw", "mapped", "closed", "by C"}
    where = {name: "" if name == "by C" else f"{PROGRAM}:{number}: " for name, number in opened.items()}
    said = "is opened for writing in a successor while its predecessor has it open for writing; use flex.output or flex.exclusive"
    return {f"flexmpi: warning: {line}{folder / name} {said}" for name, line in where.items()}


def test_each_file_that_two_worlds_write_is_warned_of_once_and_no_other(start: Start, tmp_path: Path) -> None:
    corefile = f"--corefile={COREFILES / 'demo.core'}"
    application = start(
        "--change=handover", corefile, "--interval=0.02s", "--quiet", "-n2", PROGRAM, f"--folder={tmp_path}"
    )
    application.wait_for("loop")
    for command in ("6:lhost:1", "6:node2:1"):
        assert application.change(command)["outcome"] == "done"
    (tmp_path / "until").touch()
    status, output, errors = application.finish()
    assert (status, output) == (0, "")
    lines = errors.splitlines()
    assert set(lines) == expected(tmp_path) and len(lines) == len(set(lines)), errors
