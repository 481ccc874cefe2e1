"""Whatever is declared, and whenever it is filled, a successor has it as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.applications import COREFILES, PROGRAMS, Application

Start = Callable[..., Application]


def begin(start: Start, folder: Path, blocks: str, *options: str, last_loop: int = 1) -> Application:
    how = ("--change=handover", f"--blocks={blocks}", f"--corefile={COREFILES / 'demo.core'}", "--interval=5", "-q")
    application = start(*how, "-n5", PROGRAMS / "declarations.py", f"--folder={folder}", *options)
    application.wait_for("loop", loop=last_loop)
    return application


def end(application: Application, folder: Path) -> None:
    (folder / "stop").touch()
    status, output, errors = application.finish()
    assert (status, output, errors) == (0, "all was right\n", "")


@pytest.mark.parametrize("blocks", ["node", "private"])
def test_a_matrix_that_was_assigned_in_a_loop_is_whole_on_nodes_and_off_them(
    start: Start, tmp_path: Path, blocks: str
) -> None:
    application = begin(start, tmp_path, blocks)
    for command, ranks in (("6:node2:-1", 4), ("6:lhost:-1", 3), ("6:node2:2", 5)):
        event = application.change(command)
        assert (event["outcome"], event["ranks_after"]) == ("done", ranks), event
    end(application, tmp_path)


def test_what_a_matrix_was_before_it_was_assigned_anew_takes_no_memory(start: Start, tmp_path: Path) -> None:
    application = begin(start, tmp_path, "node", "--loops=8", last_loop=8)
    application.wait_for("sample", loop=8)
    files = Path(f"/proc/{application.launcher('demo-1')}/fd")
    there = [str(file.readlink()) for file in files.iterdir() if file.is_symlink()]
    assert sum("csr:assigned anew" in name for name in there) == 3, there
    end(application, tmp_path)
