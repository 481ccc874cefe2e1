"""On which nodes an application's ranks go where nobody has said it, and whether applications ask for too much together.

Pure: plain data in, plain data out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flexmpi.cluster.platform import Node
from flexmpi.errors import CommandError


def allocate(
    nodes: Sequence[Node], count: int, *, occupied: Mapping[str, int], own: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Choose nodes for ``count`` more ranks of one application.

    Free cores come first, on nodes the application uses already before others; where they do not suffice, nodes are
    shared, but no application has more ranks on a node than it has cores.

    Parameters
    ----------
    occupied
        Ranks of all applications on each node.
    own
        Ranks of this application on each node, part of ``occupied``.

    Returns
    -------
    dict
        Node name -> ranks, more than 0 each, in the order of the nodes.

    Raises
    ------
    CommandError
        The nodes have too few cores even if nobody else used them.
    """
    own = own or {}
    room = {node.name: node.cores - own.get(node.name, 0) for node in nodes}
    if count > sum(room.values()):
        raise CommandError(
            f"no room for {count} ranks: an application can have {sum(room.values())} more on these nodes"
        )
    free = {node.name: max(0, node.cores - occupied.get(node.name, 0)) for node in nodes}
    given = dict.fromkeys(room, 0)
    used_first = sorted(room, key=lambda name: name not in own)
    for most in (free, room):
        for name in used_first:
            taken = max(0, min(count, min(most[name], room[name]) - given[name]))
            given[name] += taken
            count -= taken
    return {name: ranks for name, ranks in given.items() if ranks}


def withdraw(nodes: Sequence[Node], count: int, *, own: Mapping[str, int]) -> dict[str, int]:
    """Choose the nodes from which ``count`` ranks of an application go: the last ones first; some rank stays.

    Returns
    -------
    dict
        Node name -> ranks to remove, more than 0 each.

    Raises
    ------
    CommandError
        There are not so many.
    """
    if count >= sum(own.values()):
        raise CommandError(f"cannot remove {count} ranks of {sum(own.values())}: one must stay")
    taken = {}
    for node in reversed(nodes):
        if ranks := min(count, own.get(node.name, 0)):
            taken[node.name] = ranks
            count -= ranks
    return taken


def resize(
    nodes: Sequence[Node], change: int, *, occupied: Mapping[str, int], own: Mapping[str, int]
) -> dict[str, int]:
    """Return the change of each node by which an application gains (or loses, negative) so many ranks.

    Raises
    ------
    CommandError
        As `allocate` and `withdraw`.
    """
    if change > 0:
        return allocate(nodes, change, occupied=occupied, own=own)
    return {name: -ranks for name, ranks in withdraw(nodes, -change, own=own).items()}


def total(placements: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Add up the ranks of several applications on each node."""
    names = dict.fromkeys(name for placement in placements for name in placement)
    return {name: sum(placement.get(name, 0) for placement in placements) for name in names}


def overcommitted(nodes: Sequence[Node], occupied: Mapping[str, int]) -> list[str]:
    """Say which nodes have more ranks than cores, a text each."""
    return [
        f"{node.name} has {node.cores} cores for {occupied[node.name]} ranks of all applications together"
        for node in nodes
        if occupied.get(node.name, 0) > node.cores
    ]


def listed(placement: Mapping[str, int]) -> str:
    """Return ``node:ranks,node:ranks…``."""
    return ",".join(f"{name}:{ranks}" for name, ranks in placement.items())
