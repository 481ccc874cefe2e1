"""Which of a job's nodes are alike, and where ranks come and go so that each class has as many as wanted.

Pure; standard library only.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from flexmpi.cluster.platform import ANY_NODE, Node


@dataclass(frozen=True)
class JobClass:
    """Nodes of one class that a job may have.

    Attributes
    ----------
    name
        For messages: the corefile's alias, or the number of cores.
    nodes
        In the order in which they are filled.
    available
        How many of them it may have at once.
    """

    name: str
    nodes: tuple[Node, ...]
    available: int

    def among(self, usable: Collection[Node]) -> JobClass | None:
        """Return the part of it that may be used; None if there is nothing of it."""
        nodes = tuple(node for node in self.nodes if node in usable)
        return JobClass(self.name, nodes, min(self.available, len(nodes))) if nodes else None

    @property
    def cores(self) -> int:
        """The most ranks that one of its nodes holds."""
        return self.nodes[0].cores

    @property
    def cost(self) -> float:
        """Price of one process there for one second."""
        return self.nodes[0].cost


def classes_of(nodes: Sequence[Node], *, on_demand: bool, maximum_nodes: int) -> tuple[JobClass, ...]:
    """Group the nodes of a job.

    Parameters
    ----------
    nodes
        The nodes it may have, in order.
    on_demand
        A resource manager chooses among nodes with names of their own: those with as many cores are alike. Otherwise nodes of
        one alias are, where their cores, cost and speed are the same.
    maximum_nodes
        The most it may have at once.
    """
    groups: dict[tuple[object, ...], list[Node]] = {}
    for node in nodes:
        key = (node.cores,) if on_demand else (node.alias, node.cores, node.cost, node.speed)
        groups.setdefault(key, []).append(node)
    classes: list[JobClass] = []
    for alike in groups.values():
        base = f"{alike[0].cores} cores" if on_demand else alike[0].alias
        taken = sum(known.name == base or known.name.startswith(f"{base}/") for known in classes)
        name = f"{base}/{taken + 1}" if taken else base
        classes.append(JobClass(name, tuple(alike), min(len(alike), maximum_nodes)))
    return tuple(classes)


def class_names(classes: Sequence[JobClass]) -> dict[str, str]:
    """Return the class of each node, by their names."""
    return {node.name: known.name for known in classes for node in known.nodes}


def changes_to(
    classes: Sequence[JobClass], occupied: Mapping[str, int], ranks: Sequence[int], *, on_demand: bool
) -> dict[str, int]:
    """Return the change of ranks on each node after which every class has as many as wanted.

    Nodes with ranks are filled before others get any, and emptied from the last one on. Where nodes come on demand, those
    that are new are one at most, `ANY_NODE`; the rest would be for the next change.

    Parameters
    ----------
    classes
        The classes of nodes.
    occupied
        Ranks on each node that has any.
    ranks
        Wanted of each class, in their order.
    """
    changes: dict[str, int] = {}
    for known, wanted in zip(classes, ranks, strict=True):
        present = [node.name for node in known.nodes if occupied.get(node.name)]
        difference = wanted - sum(occupied[name] for name in present)
        if difference < 0:
            changes |= _removed(present[::-1], occupied, -difference)
        elif difference > 0:
            others = [node.name for node in known.nodes if not occupied.get(node.name)]
            changes |= _added([*present, *others[: 0 if on_demand else None]], occupied, difference, known.cores)
            left = difference - sum(changes.get(name, 0) for name in (*present, *others))
            if on_demand and left and ANY_NODE not in changes:
                changes[ANY_NODE] = min(left, known.cores)
    return changes


def _removed(names: Sequence[str], occupied: Mapping[str, int], count: int) -> dict[str, int]:
    changes = {}
    for name in names:
        taken = min(occupied[name], count)
        count -= taken
        if taken:
            changes[name] = -taken
    return changes


def _added(names: Sequence[str], occupied: Mapping[str, int], count: int, cores: int) -> dict[str, int]:
    changes = {}
    for name in names:
        taken = min(max(0, cores - occupied.get(name, 0)), count)
        count -= taken
        if taken:
            changes[name] = taken
    return changes
