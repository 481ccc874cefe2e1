"""`flexmpi demo` does what it shows, and leaves nothing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.applications import Leftovers

LIMIT_S = 330
"""The demo's own limits together, and what comes before and after."""


@pytest.mark.timeout(LIMIT_S + 20)
def test_the_demo_moves_nodes_there_and_back_with_the_right_answers() -> None:
    leftovers = Leftovers()
    command = [sys.executable, "-m", "flexmpi.cli", "demo"]
    environment = {**os.environ, "TMPDIR": str(leftovers.folder)}
    run = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False, env=environment)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "4 of 4 reconfigurations done. All is right." in run.stdout
    assert "Nodes moved to the job that came later and back. All is right." in run.stdout
    leftovers.check()
