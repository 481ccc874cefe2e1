"""`flexmpi run --blocks`: where rows lie is said only where it is a choice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.applications import LIMIT_S


@pytest.mark.parametrize("change", [(), ("--change=join",)])
def test_where_rows_lie_is_no_choice_of_ranks_that_join(change: tuple[str, ...], tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.touch()
    command = [sys.executable, "-m", "flexmpi.cli", "run", *change, "--blocks=node", str(script)]
    tried = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    refused = "flexmpi: error: --blocks needs --change=handover; ranks that join have private blocks\n"
    assert (tried.returncode, tried.stderr) == (2, refused)
