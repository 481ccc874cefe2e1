"""Slurm's short form for lists of hosts, read and written: ``node[0-3,10],login``. Pure."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from functools import lru_cache
from itertools import product

from flexmpi.errors import ManagerError

MOST_HOSTS = 10**6
"""More than this in one list is a slip of the pen."""

# Commas that are not in brackets separate the names.
_NAME = re.compile(r"(?:[^,\[\]\s]|\[[0-9,-]+\])+")
_RANGE = re.compile(r"([0-9]+)(?:-([0-9]+))?")
_NUMBERED = re.compile(r"(.*?)([0-9]+)([^0-9]*)", re.DOTALL)


@lru_cache(maxsize=4096)
def expand_hosts(text: str) -> tuple[str, ...]:
    """Return the names that a host list means, in its order; none for an empty one.

    Numbers keep their leading zeros. A name may have several brackets: the last one counts fastest, as for Slurm.

    Raises
    ------
    ManagerError
        It is no host list, or one of more than a million names.
    """
    names: list[str] = []
    rest = text.strip()
    while rest:
        found = _NAME.match(rest)
        if found is None or rest[found.end() : found.end() + 1] not in ("", ","):
            raise ManagerError(f"expected a list of hosts such as node[0-3,7], got {text!r}")
        pieces = re.split(r"\[([^\]]*)\]", found[0])
        choices = [_numbers(piece, text) if index % 2 else [piece] for index, piece in enumerate(pieces)]
        if len(names) + math.prod(map(len, choices)) > MOST_HOSTS:
            raise _too_many(text)
        names.extend(map("".join, product(*choices)))
        rest = rest[found.end() + 1 :]
    return tuple(names)


def fold_hosts(names: Collection[str]) -> str:
    """Return the short form of names, each once and in the order of their numbers, which `expand_hosts` reads.

    The last number of a name is what is folded: ``rack1-n[3-4],rack2-n3``.
    """
    numbers: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for name in sorted(set(names), key=_natural):
        found = _NUMBERED.fullmatch(name)
        numbers[(found[1], found[3]) if found else (name,)].append(found[2] if found else "")
    # Around the ranges is what comes before and after them; a name without a number is all there is around nothing.
    return ",".join(_ranges(several).join(around) for around, several in numbers.items())


def _natural(name: str) -> tuple[list[tuple[str, int]], str]:
    """Order names by their texts and numbers, and those that differ in leading zeros only by these."""
    return [(text, int(number or -1)) for text, number in re.findall(r"([^0-9]*)([0-9]*)", name)], name


def _ranges(numbers: Sequence[str]) -> str:
    runs: list[list[str]] = []
    for number in numbers:
        # The next one is written as wide as the first of its range, which is how it will be read.
        if runs and number == str(int(runs[-1][-1]) + 1).zfill(len(runs[-1][0])):
            runs[-1].append(number)
        else:
            runs.append([number])
    if len(numbers) == 1:
        return numbers[0]
    return "[" + ",".join(run[0] if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs) + "]"


def _numbers(ranges: str, text: str) -> list[str]:
    numbers: list[str] = []
    for part in ranges.split(","):
        found = _RANGE.fullmatch(part)
        if found is None or int(found[2] or found[1]) < int(found[1]):
            raise ManagerError(f"expected ranges of numbers in brackets, got {ranges!r} in the list of hosts {text!r}")
        first, last = int(found[1]), int(found[2] or found[1])
        if len(numbers) + last - first >= MOST_HOSTS:
            raise _too_many(text)
        numbers.extend(str(number).zfill(len(found[1])) for number in range(first, last + 1))
    return numbers


def _too_many(text: str) -> ManagerError:
    return ManagerError(f"expected a list of at most {MOST_HOSTS} hosts, got {text!r}")
