"""What a node launcher tells the ranks that it starts: their program, and in variables of their environment what their user set.

Pure, and of the standard library little, for every rank's shim has it in memory. All else that a rank is started with is for the
runtime and for MPI, and no business of the program's own children.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

MODULE = "-m"
"""Where the program's command line begins with this, the next argument is a module's name; else the first is a script."""
NAMES = "FLEXMPI_NAMES"
"""The names of the variables that are meant for the program."""
SIGNALS = "FLEXMPI_SIGNALS"
"""The signals that the user's environment ignores and blocks."""

NUMBER = "FLEXMPI_RANK"
"""A rank's number in its world, where it has been found."""
RANK_NAMES = ("PMI_RANK", "PMIX_RANK")
"""The variables by which ``mpiexec`` tells a rank its number: Hydra's, PRRTE's."""

ENDS = "ends"
"""The named pipe, in a process set's folder on a node, by which the ranks' shims tell how each rank has ended."""

COMPUTES = b"\0flexmpi computes\0\n"
"""What a rank of a successor writes into its pipes where it begins to compute."""


class RankPlace(NamedTuple):
    """Where a rank is: its number in its world, the socket of its node's launcher, and its process set's folder there."""

    number: int
    socket: Path
    folder: Path


def place_by(variables: Mapping[str, str]) -> RankPlace:
    """Return where a rank is that a launcher has started, by what it was told or by its environment."""
    number = int(next((variables[name] for name in (NUMBER, *RANK_NAMES) if name in variables), "0"))
    # The ranks of a node follow each other.
    last = 0
    for count, path in json.loads(variables["FLEXMPI_SOCKETS"]):
        last += count
        if number < last:
            return RankPlace(number, Path(path), Path(path).parent / Path(variables["FLEXMPI_OUTPUT"]).name)
    raise IndexError(f"rank {number} is not one of {last}")


def names_as_text(names: Iterable[str]) -> str:
    """Return names of variables as one text."""
    return "=".join(sorted(names))


def names_in(text: str) -> frozenset[str]:
    """Return the names that `names_as_text` has written."""
    return frozenset(name for name in text.split("=") if name)


@dataclass(frozen=True)
class SignalState:
    """The numbers of the signals that a process is started to ignore, and of those that are blocked in it."""

    ignored: frozenset[int] = frozenset()
    blocked: frozenset[int] = frozenset()

    def text(self) -> str:
        """Return it as one text."""
        return "/".join(",".join(map(str, sorted(numbers))) for numbers in (self.ignored, self.blocked))

    @classmethod
    def parse(cls, text: str) -> SignalState:
        """Return what `text` has written; ValueError if it is no such text."""
        ignored, blocked = text.split("/")
        return cls(_numbers(ignored), _numbers(blocked))


def _numbers(text: str) -> frozenset[int]:
    return frozenset(int(number) for number in text.split(",") if number)
