"""Whether a change of ranks is possible, and what it is node by node, within the bounds of one job.

Pure; `placement` knows classes and cores, here are the job's number of nodes, its grant, and nodes that come on demand.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from flexmpi.cluster.platform import ANY_NODE, Node
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
        Ranks on each node; those on a node to come are ``any``'s.
    nodes
        All nodes that the job may ever have.
    given
        The nodes that the agent gives with it.
    on_demand
        The provider chooses a new node for ranks that are added to ``any``.

    Returns
    -------
    dict
        Node name -> ranks to add or remove; ``any`` stands for a node to come, or where ranks may be removed from it.

    Raises
    ------
    CommandError
        It is not possible, with the reason.
    """
    on_new_node = 0
    if on_demand:
        on_new_node = sum(change for name, change in changes if name == ANY_NODE and change > 0)
        changes = [(name, change) for name, change in changes if name != ANY_NODE or change < 0]
    if on_new_node > max(node.cores for node in nodes):
        raise CommandError(f"{on_new_node} ranks do not fit on one new node")
    new_nodes = int(on_new_node > 0) + int(ANY_NODE in occupied)
    if new_nodes and len(occupied) + int(on_new_node > 0) > limits.maximum_nodes:
        raise CommandError(f"the application may have {limits.maximum_nodes} nodes at most")
    known = {node: ranks for node, ranks in occupied.items() if node != ANY_NODE}
    if on_new_node and not changes:
        return {ANY_NODE: on_new_node}
    if ANY_NODE in occupied and any(name == ANY_NODE for name, _ in changes):
        return _left_open(changes, occupied, on_new_node=on_new_node)
    grant.check(nodes, (name for name, _ in changes), given)
    resolved = resolve_changes(
        grant.usable(nodes, given),
        known,
        changes,
        minimum_nodes=limits.minimum_nodes,
        maximum_nodes=limits.maximum_nodes - new_nodes,
    )
    return resolved | ({ANY_NODE: on_new_node} if on_new_node else {})


def _left_open(changes: Sequence[tuple[str, int]], occupied: Mapping[str, int], *, on_new_node: int) -> dict[str, int]:
    """Return a removal from ``any`` as it is: whose ranks leave is known when the node to come has its name."""
    wanted = {ANY_NODE: on_new_node} if on_new_node else {}
    for name, change in changes:
        add_up(wanted, {name: change})
    if sum(occupied.values()) + sum(wanted.values()) < 1:
        raise CommandError("the change would leave no rank at all, expected 1 or more to stay")
    return wanted


def add_up(occupied: dict[str, int], changes: Mapping[str, int]) -> None:
    """Count a change in."""
    for node, change in changes.items():
        occupied[node] = occupied.get(node, 0) + change
