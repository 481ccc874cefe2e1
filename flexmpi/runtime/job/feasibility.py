"""Whether a change of ranks is possible, and what it is node by node, within the bounds of one job.

Pure; `placement` knows classes and cores, here are the job's number of nodes, its grant, and nodes that come on demand.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from flexmpi.cluster.platform import Node, is_to_come, node_to_come
from flexmpi.errors import CommandError
from flexmpi.runtime.job.grant import Grant
from flexmpi.runtime.job.options import Limits
from flexmpi.runtime.job.placement import resolve_changes


def resolve(
    changes: Sequence[tuple[str, int]],
    occupied: Mapping[str, int],
    *,
    nodes: Sequence[Node],
    limits: Limits,
    grant: Grant,
    given: Collection[str] = (),
    on_demand: bool = False,
) -> dict[str, int]:
    """Return the change of each node.

    Parameters
    ----------
    changes
        Pairs of a node's name or alias and the ranks to add (or to remove, negative).
    occupied
        Ranks on each node; those on a node to come are ``any``'s, on further ones ``any#2``'s and so on.
    nodes
        All nodes that the job may ever have.
    given
        The nodes that the agent gives with it.
    on_demand
        The provider chooses a new node for ranks that are added to ``any``, one for each pair.

    Returns
    -------
    dict
        Node name -> ranks to add or remove; ``any``, ``any#2``, … stand for nodes to come, or ``any`` where ranks may be
        removed from one.

    Raises
    ------
    CommandError
        It is not possible, with the reason.
    """
    to_come: dict[str, int] = {}
    if on_demand:
        added = [change for name, change in changes if is_to_come(name) and change > 0]
        to_come = {node_to_come(number): change for number, change in enumerate(added, start=1)}
        changes = [(name, change) for name, change in changes if not is_to_come(name) or change < 0]
    if (most := max(to_come.values(), default=0)) > max(node.cores for node in nodes):
        raise CommandError(f"{most} ranks do not fit on one new node")
    known = {node: ranks for node, ranks in occupied.items() if not is_to_come(node)}
    awaited = len(occupied) - len(known)
    if (to_come or awaited) and len(occupied) + len(to_come) > limits.maximum_nodes:
        raise CommandError(f"the application may have {limits.maximum_nodes} nodes at most")
    if to_come and not changes:
        return to_come
    if awaited and any(is_to_come(name) for name, _ in changes):
        return _left_open(changes, occupied, to_come)
    grant.check(nodes, (name for name, _ in changes), given)
    resolved = resolve_changes(
        grant.usable(nodes, given),
        known,
        changes,
        minimum_nodes=limits.minimum_nodes,
        maximum_nodes=limits.maximum_nodes - awaited - len(to_come),
    )
    return resolved | to_come


def _left_open(
    changes: Sequence[tuple[str, int]], occupied: Mapping[str, int], to_come: Mapping[str, int]
) -> dict[str, int]:
    """Return a removal from ``any`` as it is: whose ranks leave is known when the node to come has its name."""
    wanted = dict(to_come)
    for name, change in changes:
        add_up(wanted, {name: change})
    if sum(occupied.values()) + sum(wanted.values()) < 1:
        raise CommandError("the change would leave no rank at all, expected 1 or more to stay")
    return wanted


def add_up(occupied: dict[str, int], changes: Mapping[str, int]) -> None:
    """Count a change in."""
    for node, change in changes.items():
        occupied[node] = occupied.get(node, 0) + change
