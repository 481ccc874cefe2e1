"""What a program makes of MPI.COMM_WORLD at its top works in each of its worlds, under every MPI library."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.applications import COREFILES, PROGRAMS, Application

Start = Callable[..., Application]


@pytest.mark.every_library
def test_windows_files_groups_and_messages_of_any_source_work_in_every_world(start: Start, tmp_path: Path) -> None:
    options = ("--change=handover", f"--corefile={COREFILES / 'demo.core'}", "--interval=0.02s", "-q", "-n2")
    application = start(*options, PROGRAMS / "world_tools.py", f"--folder={tmp_path}")
    application.wait_for("loop")
    for command, ranks in (("6:lhost:1:node2:2", 5), ("6:lhost:-3", 2), ("6:node2:1", 3), ("6:node2:-2", 1)):
        changed = application.change(command)
        assert (changed["outcome"], changed["ranks_after"]) == ("done", ranks), changed
    (tmp_path / "stop").touch()
    assert application.finish() == (0, "all was right\n", "")
    assert [path.name for path in tmp_path.iterdir()] == ["stop"]
