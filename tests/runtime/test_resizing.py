"""A running application grows and shrinks by text commands."""

from __future__ import annotations

import re

import pytest

from tests.applications import COREFILES, PROGRAMS

TWO_NODES = f"--corefile={COREFILES / 'demo.core'}"
COUNTING = (TWO_NODES, "--interval=0.05s", "-n2", PROGRAMS / "counting.py", "--pause=0.001")


@pytest.mark.both_changes
def test_ranks_join_and_leave_while_the_data_stays_right(start, tmp_path):
    until = tmp_path / "until"
    application = start(*COUNTING, f"--until={until}")
    application.wait_for("loop")
    grown = application.change("6:lhost:2")
    assert (grown["outcome"], grown["ranks_before"], grown["ranks_after"]) == ("done", 2, 4)
    moved = application.change("6:lhost:-3:node2:2")
    assert (moved["outcome"], moved["ranks_after"], moved["nodes_after"]) == ("done", 3, 2)
    founders_gone = application.change("6:lhost:-1")
    assert (founders_gone["ranks_after"], founders_gone["nodes_after"]) == (2, 1)
    until.touch()
    status, output, errors = application.finish()
    assert (status, errors) == (0, "")
    assert re.search(r"^counted \d+ iterations on 2 ranks$", output, re.MULTILINE)
