"""Every benchmark runs, in its short form, and says what it measured; how fast that was is none of a test's business."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.figures import Result
from benchmarks.page import ORDER
from tests.applications import REPOSITORY
from tests.devcluster.clusters import missing_here


@pytest.mark.parametrize("name", ORDER)
def test_the_short_form_of_a_benchmark_reports_tables_and_targets(name: str, tmp_path: Path) -> None:
    if name == "released_node" and (reason := missing_here()):
        pytest.skip(reason)
    kept = tmp_path / "result.json"
    command = [sys.executable, "-m", f"benchmarks.{name}", "--quick", f"--json={kept}"]
    finished = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=170, check=False)
    assert finished.returncode == 0, finished.stderr
    result = Result.from_json(json.loads(kept.read_text()))
    assert result.name == name
    assert result.tables and all(table.rows for table in result.tables)
    assert result.targets and all(target.claim in " ".join(finished.stdout.split()) for target in result.targets)
