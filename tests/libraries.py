"""The MPI libraries that tests run under: that of ``.venv``, and others in environments of their own, which `make test` makes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.applications import REPOSITORY

LIBRARIES = ("mpich", "impi", "openmpi")
"""The first is that of the environment in which the tests run."""


def python_of(library: str) -> Path:
    """Return the interpreter whose environment has this library; the test is skipped where there is none."""
    if library == LIBRARIES[0]:
        return Path(sys.executable)
    folder = REPOSITORY / ".venv" / "mpi" / library
    if not (folder / ".installed").exists():
        log = folder / "pip.log"
        said = log.read_text().splitlines()[-1:] if log.exists() else ["`make test` makes it"]
        pytest.skip(f"no environment {folder}: {''.join(said)}")
    return folder / "bin" / "python"
