"""Slurm's short form for lists of hosts, read and written: ``node[0-3,10],login``. Pure."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from functools import lru_cache
from itertools import product

from flexmpi.errors import ManagerError
from flexmpi.numerals import LONGEST, whole_number

MOST_HOSTS = 10**6
"""More than this in one list is a slip of the pen."""

# Commas that are not in brackets separate the names.
_NAME = re.compile(r"(?:[^,\[\]\s]|\[[0-9,-]+\])+")
_RANGE = re.compile(r"([0-9]+)|([0-9]{1,18})-([0-9]{1,18})")
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


def successor(number: str) -> str | None:
    """Return the next number, written at least as wide; None where there is no number, or a very long one."""
    value = whole_number(number, longest=LONGEST)
    return None if value is None else str(value + 1).zfill(len(number))


def _natural(name: str) -> tuple[list[tuple[str, int, str]], str]:
    """Order names by their texts and numbers, and those that differ in leading zeros only by these."""
    parts = re.findall(r"([^0-9]*)([0-9]*)", name)
    # Of two numbers the one with more digits is larger: so they may be as long as they like.
    return [(text, len(number.lstrip("0")) if number else -1, number.lstrip("0")) for text, number in parts], name


def _ranges(numbers: Sequence[str]) -> str:
    runs: list[list[str]] = []
    for number in numbers:
        if runs and number == successor(runs[-1][-1]):
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
        if found is not None and found[1] is not None:
            numbers.append(part)
            continue
        if found is None or int(found[3]) < int(found[2]):
            raise ManagerError(f"expected ranges of numbers in brackets, got {ranges!r} in the list of hosts {text!r}")
        first, last = int(found[2]), int(found[3])
        if len(numbers) + last - first >= MOST_HOSTS:
            raise _too_many(text)
        numbers.extend(str(number).zfill(len(found[2])) for number in range(first, last + 1))
    return numbers


def _too_many(text: str) -> ManagerError:
    return ManagerError(f"expected a list of at most {MOST_HOSTS} hosts, got {text!r}")
