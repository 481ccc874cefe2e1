"""The nodes that an application may use, which of them a name means, and changes that are planned on them. Plain frozen data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from flexmpi.cluster.hostlists import successor
from flexmpi.errors import CommandError

ANY_NODE = "any"
"""In a command: whichever node is free, or the one a resource manager chooses."""
_NUMBER = "#"  # in no node's name

# Commands and the manual's examples use both for "the node the application started on".
_FIRST_NODE_NAMES = ("localhost", "lhost")

_FOLD_ABOVE = 6
_FOLDED_PARTS = 8


@dataclass(frozen=True)
class Node:
    """One compute node as the corefile describes it.

    Parameters
    ----------
    name
        Host name, as ``uname -n`` says it.
    cores
        Ranks it can hold.
    alias
        Its class; several nodes may share one.
    cost
        Price of one process for one second.
    speed
        Computing power relative to the other nodes, None where it is not known.
    """

    name: str
    cores: int
    alias: str
    cost: float = 0.0
    speed: float | None = None


@dataclass(frozen=True)
class ScheduledChange:
    """Ranks to add or remove (pairs of a node's name or alias and a number) from an iteration on."""

    at_iteration: int
    changes: tuple[tuple[str, int], ...]


def node_to_come(number: int) -> str:
    """Return what the first, second, … of several nodes is called that a resource manager is to choose: each is another one."""
    return ANY_NODE if number == 1 else f"{ANY_NODE}{_NUMBER}{number}"


def is_to_come(name: str) -> bool:
    """Whether a resource manager is to choose the node."""
    return name.partition(_NUMBER)[0] == ANY_NODE


def find_nodes(nodes: Sequence[Node], name: str) -> tuple[Node, ...]:
    """Find the nodes a name means: the nodes of a class in order, or the one node of a host name.

    ``localhost`` and ``lhost`` mean the first node, ``any`` all nodes, where no node and no class is called so.

    Raises
    ------
    CommandError
        Nothing has this name; the message lists the known aliases.
    """
    found = tuple(node for node in nodes if node.alias == name) or tuple(node for node in nodes if node.name == name)
    if not found and name in _FIRST_NODE_NAMES:
        found = tuple(nodes[:1])
    if not found and name == ANY_NODE:
        found = tuple(nodes)
    if not found:
        raise CommandError(f"no node or alias {name!r}, expected one of {names_text(node.alias for node in nodes)}")
    return found


def names_text(names: Iterable[str]) -> str:
    """List names on one line, for a message: as they are when few, ``node[1-40]`` when many."""
    unique = list(dict.fromkeys(names))
    if len(unique) <= _FOLD_ABOVE:
        return ", ".join(unique)
    runs: list[tuple[str, str, str]] = []  # stem, first and last number
    for name in unique:
        digits = name[len(name.rstrip("0123456789")) :]
        stem = name.removesuffix(digits)
        if digits and runs and runs[-1][0] == stem and successor(runs[-1][2]) == digits:
            runs[-1] = (stem, runs[-1][1], digits)
        else:
            runs.append((stem, digits, digits))
    parts = [f"{stem}{first}" if first == last else f"{stem}[{first}-{last}]" for stem, first, last in runs]
    more = len(parts) - _FOLDED_PARTS
    return ", ".join(parts[:_FOLDED_PARTS]) + (f" and {more} more" if more > 0 else "")
