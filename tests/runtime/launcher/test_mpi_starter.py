"""The ``mpiexec`` that there is, told from others by what it says of its version."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from flexmpi.runtime.launcher.mpi_starter import OF_MPICH, OF_OPEN_MPI, find_starter, options_for

VERSIONS = {
    "HYDRA build details:\n    Version:                                 5.0.2\n": OF_MPICH,
    "Intel(R) MPI Library for Linux* OS, Version 2021.12 Build 20240213\n": OF_MPICH,
    "mpiexec (Open MPI) 5.0.11\n\nReport bugs to https://www.open-mpi.org/community/help/\n": OF_OPEN_MPI,
    "mpiexec (OpenRTE) 4.1.4\n\nReport bugs to http://www.open-mpi.org/community/help/\n": OF_OPEN_MPI,
}


@pytest.mark.parametrize(("version", "options"), VERSIONS.items())
def test_open_mpi_has_other_options_than_mpich_and_its_relatives(version: str, options: tuple[str, ...]) -> None:
    assert options_for(version) == options


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_the_mpiexec_beside_this_python_comes_before_that_of_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside, elsewhere = tmp_path / "beside", tmp_path / "elsewhere"
    for folder in (beside, elsewhere):
        folder.mkdir()
        script(folder / "mpiexec", "echo 'mpiexec (Open MPI) 5.0.11'")
    monkeypatch.setenv("PATH", str(elsewhere), prepend=":")
    found = asyncio.run(find_starter(beside))
    assert (found.path, found.options) == (str(beside / "mpiexec"), OF_OPEN_MPI)
    (beside / "mpiexec").unlink()
    assert asyncio.run(find_starter(beside)).path == str(elsewhere / "mpiexec")


def test_without_an_mpiexec_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OSError, match=r"there is no mpiexec; install an MPI, for example: pip install mpich"):
        asyncio.run(find_starter(tmp_path))


def test_the_command_runs_the_script_and_its_arguments_in_so_many_ranks_here_and_nowhere_else() -> None:
    command = asyncio.run(find_starter()).command(3, ["script.py", "-n", "7"])
    assert command[1:5] == ["-launcher", "fork", "-rmk", "user"]
    assert command[5:] == ["-n", "3", sys.executable, "-P", "-m", "flexmpi.runtime.rank.shim", "script.py", "-n", "7"]
