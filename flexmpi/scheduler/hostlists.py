"""Slurm's short form for lists of hosts: ``node[0-3,10],login``. Pure."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import product

from flexmpi.errors import ManagerError

# Commas that are not in brackets separate the names.
_NAME = re.compile(r"(?:[^,\[\]\s]|\[[0-9,-]+\])+")
_RANGE = re.compile(r"([0-9]+)(?:-([0-9]+))?")


@lru_cache(maxsize=4096)
def expand_hosts(text: str) -> tuple[str, ...]:
    """Return the names that a host list means, in its order; none for an empty one.

    Numbers keep their leading zeros. A name may have several brackets: the last one counts fastest, as for Slurm.

    Raises
    ------
    ManagerError
        It is no host list.
    """
    names: list[str] = []
    rest = text.strip()
    while rest:
        found = _NAME.match(rest)
        if found is None or rest[found.end() : found.end() + 1] not in ("", ","):
            raise ManagerError(f"expected a list of hosts such as node[0-3,7], got {text!r}")
        pieces = re.split(r"\[([^\]]*)\]", found[0])
        choices = [_numbers(piece, text) if index % 2 else [piece] for index, piece in enumerate(pieces)]
        names.extend(map("".join, product(*choices)))
        rest = rest[found.end() + 1 :]
    return tuple(names)


def _numbers(ranges: str, text: str) -> list[str]:
    numbers: list[str] = []
    for part in ranges.split(","):
        found = _RANGE.fullmatch(part)
        if found is None:
            raise ManagerError(f"expected ranges of numbers in brackets, got {ranges!r} in the list of hosts {text!r}")
        first, last = found[1], found[2] or found[1]
        numbers.extend(str(number).zfill(len(first)) for number in range(int(first), int(last) + 1))
    return numbers
