"""Which MPI libraries are measured, and what is said of those that are not."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import pytest

from benchmarks import libraries

HERE = Path(sys.executable)


def parsed(*values: str) -> dict[str, Path]:
    command = click.Command("benchmark")
    return libraries.parse(click.Context(command), click.Option(["--library", "pythons"]), values)


def test_an_environment_that_is_not_there_or_has_another_library_is_said_to_be_so(tmp_path: Path) -> None:
    found = libraries.find({"Intel MPI": tmp_path / "python", "Open MPI": HERE})
    mpich, intel, open_mpi = found
    assert mpich.version.startswith("MPICH") and not mpich.why
    assert (intel.version, intel.why) == ("", "its environment is not there")
    assert open_mpi.version == "" and "its environment has MPICH" in open_mpi.why


def test_an_environment_without_an_mpi_library_is_said_to_have_none(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    (mpich, *_) = libraries.find({"MPICH": python})
    assert mpich.why == "its environment has no MPI library that mpi4py loads"


def test_an_interpreter_is_given_by_the_name_of_its_library() -> None:
    assert parsed("Open MPI=/opt/bin/python") == {"Open MPI": Path("/opt/bin/python")}


@pytest.mark.parametrize("value", ["Open MPI", "Open MPI=", "LAM=/usr/bin/python"])
def test_another_name_or_none_is_refused_with_those_that_there_are(value: str) -> None:
    with pytest.raises(click.BadParameter, match="expected one of MPICH=PYTHON, Intel MPI=PYTHON, Open MPI=PYTHON"):
        parsed(value)
