"""Where newcomers take their numbers among the ranks, so that the fewest rows change ranks.

Pure, and without numpy, which the supervisor does not load. Rows lie on ranks in the order of their numbers, whatever happens;
so a newcomer behind all others shifts everybody's rows, and one between two others takes a part of theirs.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import inf
from typing import TypeVar

Each = TypeVar("Each")

TIE = 1e-9
"""Orders whose rows that stay differ by a smaller part of all rows are equally good; of them newcomers come latest."""


@dataclass(frozen=True)
class Transition:
    """A change of ranks that might happen: the weights of all its ranks, 0 for leavers, and the newcomers' places."""

    weights: tuple[float, ...]
    newcomers: tuple[int, ...]


def newcomers_places(
    weights: Sequence[float], *, leaving: Collection[int], newcomers: Sequence[float]
) -> tuple[int, ...]:
    """Choose the numbers of newcomers in a transition such that as few rows as possible change ranks.

    The present ranks stay in their order, and the newcomers in theirs; rank 0 stays the first unless it leaves. Of all such
    orders it is one that moves the fewest rows, found by dynamic programming over the pairs (present ranks placed, newcomers
    placed), in a table of their product; row counts are taken as real numbers.

    Parameters
    ----------
    weights
        Of the present ranks, shape ``(ranks,)``; the rows are shared by them now.
    leaving
        The present ranks that leave: part of the transition, without rows after it.
    newcomers
        The newcomers' weights.

    Returns
    -------
    tuple of int
        The place of each newcomer among all ranks of the transition, ascending.
    """
    if not newcomers:
        return ()
    staying = [0.0 if rank in leaving else weight for rank, weight in enumerate(weights)]
    present, total = sum(weights), sum(staying) + sum(newcomers)
    old = [end / present for end in accumulate(weights, initial=0.0)]
    new = [end / total for end in accumulate(staying, initial=0.0)]
    before = [end / total for end in accumulate(newcomers, initial=0.0)]
    # table[rank][j]: the part of all rows that the ranks up to this one keep at best, with j newcomers before it.
    table: list[list[float]] = []
    best = [0.0] * len(before)
    for rank in range(len(weights)):
        kept = best.copy()
        # Elsewhere its old and its new rows have none in common.
        some = range(bisect_left(before, old[rank] - new[rank + 1]), bisect_left(before, old[rank + 1] - new[rank]))
        for j in some:
            end, start = min(old[rank + 1], new[rank + 1] + before[j]), max(old[rank], new[rank] + before[j])
            kept[j] += max(0.0, end - start)
        if rank == 0 and 0 not in leaving:
            kept[1:] = [-inf] * len(newcomers)
        table.append(kept)
        best = list(accumulate(kept, max))
    members, j = set(), len(newcomers)
    for rank in reversed(range(len(weights))):
        most = max(table[rank][: j + 1])
        j = next(number for number, kept_rows in enumerate(table[rank]) if kept_rows >= most - TIE)
        members.add(rank + j)
    return tuple(place for place in range(len(weights) + len(newcomers)) if place not in members)


def members_places(size: int, newcomers: Collection[int]) -> list[int]:
    """Return the places of the present ranks in a transition of ``size`` ranks, given those of the newcomers."""
    taken = set(newcomers)
    return [place for place in range(size) if place not in taken]


def interleaved(members: Sequence[Each], newcomers: Sequence[Each], places: Sequence[int]) -> list[Each]:
    """Bring what belongs to the present ranks and to the newcomers into the order of a transition.

    Parameters
    ----------
    places
        The newcomers' places, from `newcomers_places`.
    """
    size = len(members) + len(newcomers)
    at = dict(zip(members_places(size, places), members, strict=True)) | dict(zip(places, newcomers, strict=True))
    return [at[place] for place in range(size)]
