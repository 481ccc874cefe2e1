"""Which ranks a successor has, and on which nodes. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence


def places_after(present: Sequence[str], changes: Mapping[str, int]) -> tuple[str, ...]:
    """Return the node of each rank of a successor: nodes keep their order, new ones come last, ranks of a node together.

    Parameters
    ----------
    present
        The node of each present rank.
    changes
        The net change of ranks on each node.
    """
    counts = Counter(present)
    order = dict.fromkeys([*present, *changes])
    return tuple(node for node in order for _ in range(counts[node] + changes.get(node, 0)))


def in_steps(present: Sequence[str], changes: Mapping[str, int]) -> list[dict[str, int]]:
    """Return the changes that lead to what is wanted: two where a successor would have no node of the present ranks."""
    growth = {node: change for node, change in changes.items() if change > 0}
    if growth and set(present).isdisjoint(places_after(present, changes)):
        return [growth, {node: change for node, change in changes.items() if change < 0}]
    return [dict(changes)]


def place_holders(present: Sequence[str], places: Sequence[str]) -> list[int | None]:
    """Return whose place each rank of a successor takes: a node's k-th rank that of its k-th before; None for further ones."""
    before: dict[str, list[int]] = {}
    for number, node in enumerate(present):
        before.setdefault(node, []).append(number)
    return [before[node].pop(0) if before.get(node) else None for node in places]


def weights_after(
    present: Sequence[str], weights: Sequence[float], places: Sequence[str], speed_of: Callable[[str], float]
) -> tuple[float, ...]:
    """Return a weight for each rank of a successor: that of whose place it takes, or its node's speed.

    Parameters
    ----------
    present, weights
        The node and the weight of each present rank.
    places
        The node of each rank of the successor.
    speed_of
        Returns a node's relative computing power.
    """
    return tuple(
        speed_of(node) if holder is None else weights[holder]
        for node, holder in zip(places, place_holders(present, places), strict=True)
    )
