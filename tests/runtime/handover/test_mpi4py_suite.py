"""mpi4py's own tests find no difference between a successor and a first world."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.applications import PROGRAMS, Application

Start = Callable[..., Application]

RANKS = 2
"""One a core: a rank that waits in MPI takes a core from one that does not, and the whole takes half a minute so."""
DOWNLOAD_LIMIT_S = 600
RUN_LIMIT_S = 1800


@pytest.fixture
def tests_of_mpi4py(tmp_path: Path) -> Path:
    """The tests in the source distribution of the mpi4py that is installed."""
    name = f"mpi4py-{version('mpi4py')}"
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--no-binary=mpi4py",
        "--dest",
        tmp_path,
    ]
    subprocess.run([*command, name.replace("-", "==")], check=True, timeout=DOWNLOAD_LIMIT_S)
    subprocess.run(["tar", "-xzf", tmp_path / f"{name}.tar.gz", "-C", tmp_path], check=True, timeout=DOWNLOAD_LIMIT_S)
    return tmp_path / name / "test"


def found_in(start: Start, folder: Path, tests: Path, *, succeeded: bool) -> list[dict[str, object]]:
    """Return what each rank of a world has found: of a successor, or of the first one."""
    folder.mkdir()
    options = ("--change=handover", "--interval=0.02s", "-q", f"-n{RANKS - 1 if succeeded else RANKS}")
    program = (PROGRAMS / "mpi4py_suite.py", f"--folder={folder}", f"--tests={tests}")
    corefile = folder / "one.core"
    corefile.write_text("n0:8:a0:100:1000\n")
    application = start(*options, f"--corefile={corefile}", *program)
    application.wait_for("loop")
    if succeeded:
        assert application.change("6:a0:1")["ranks_after"] == RANKS
    (folder / "run").touch()
    status, _, errors = application.finish(limit_s=RUN_LIMIT_S)
    assert status == 0, errors
    return [json.loads((folder / f"found.{rank}").read_text()) for rank in range(RANKS)]


@pytest.mark.every_library
@pytest.mark.soak
def test_mpi4pys_own_tests_end_in_a_successor_as_in_a_first_world(
    start: Start, tmp_path: Path, tests_of_mpi4py: Path
) -> None:
    first = found_in(start, tmp_path / "first", tests_of_mpi4py, succeeded=False)
    print(first[0], flush=True)
    assert int(str(first[0]["run"])) > 1000
    assert found_in(start, tmp_path / "successor", tests_of_mpi4py, succeeded=True) == first
