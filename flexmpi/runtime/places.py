"""Where newcomers take their numbers among the ranks, so that the fewest rows change ranks.

Pure. Rows lie on ranks in the order of their numbers, whatever happens; so a newcomer behind all others shifts everybody's rows,
and one between two others takes a part of theirs.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import accumulate
from typing import TypeVar

import numpy as np

Each = TypeVar("Each")

TIE = 1e-9
"""Orders whose rows that stay differ by a smaller part of all rows are equally good; of them newcomers come latest."""


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
    total = sum(staying) + sum(newcomers)
    old = np.array([0.0, *accumulate(weights)]) / sum(weights)
    ahead = np.array([0.0, *accumulate(newcomers)]) / total
    new = np.array([0.0, *accumulate(staying)]) / total
    # kept[rank, j]: the part of all rows that a rank keeps, and those before it at best, with j newcomers before it.
    kept = np.empty((len(weights), len(ahead)))
    best = np.zeros(len(ahead))
    for rank in range(len(weights)):
        here = np.minimum(old[rank + 1], new[rank + 1] + ahead) - np.maximum(old[rank], new[rank] + ahead)
        kept[rank] = best + np.maximum(here, 0.0)
        if rank == 0 and 0 not in leaving:
            kept[rank, 1:] = -np.inf
        best = np.maximum.accumulate(kept[rank])
    before, most = [], len(newcomers)
    for rank in reversed(range(len(weights))):
        choice = kept[rank, : most + 1]
        most = int(np.argmax(choice >= choice.max() - TIE))
        before.append(rank + most)
    return tuple(sorted(set(range(len(weights) + len(newcomers))) - set(before)))


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
