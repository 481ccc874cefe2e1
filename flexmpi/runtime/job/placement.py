"""Which node holds how many ranks: at the start, and after a command that adds or removes some.

Pure: plain data in, plain data out. Starting and ending ranks is the supervisor's; reading files is configuration.py's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flexmpi.cluster.platform import Node, find_nodes
from flexmpi.errors import CommandError, ConfigurationError

_LISTED_NODES = 8


def initial_placement(
    nodes: Sequence[Node],
    *,
    processes: int | None,
    minimum_nodes: int,
    maximum_nodes: int | None,
    processes_per_node: int | None,
    rankfile: Mapping[str, int] | None,
    file: str = "rankfile",
) -> dict[str, int]:
    """Choose the nodes an application starts on and the ranks on each.

    Parameters
    ----------
    nodes
        The nodes the application may use, in order of preference.
    processes
        Ranks in all. They fill the first nodes one after the other; where `minimum_nodes` asks for more nodes than
        that would use, they are spread evenly over that many instead.
    minimum_nodes, maximum_nodes
        Bounds on the number of nodes with ranks; no upper bound where None.
    processes_per_node
        Ranks on each of the first `minimum_nodes` nodes (default 1); the most a node takes where `processes` is given.
    rankfile
        Ranks per host, of nodes that can hold them; where given it is the answer, `processes_per_node` is not looked at and the
        rest only checked.
    file
        What the rankfile is called in messages.

    Returns
    -------
    dict
        Node name -> ranks, more than 0 each; in the order of the nodes, or of the rankfile.

    Raises
    ------
    ConfigurationError
        The numbers contradict each other or ask for more nodes or cores than there are.
    """
    _check_bounds(nodes, minimum_nodes=minimum_nodes, maximum_nodes=maximum_nodes)
    for option, value in (("processes", processes), ("processes per node", processes_per_node)):
        if value is not None and value < 1:
            raise ConfigurationError(f"{option} must be 1 or more, got {value}")
    if rankfile is not None:
        placement = _from_rankfile(rankfile, processes=processes, file=file)
    elif processes is not None:
        limits = {node.name: min(node.cores, processes_per_node or node.cores) for node in nodes}
        placement = _filled(limits, processes, minimum_nodes=minimum_nodes)
    else:
        placement = _same_on_each(nodes[:minimum_nodes], processes_per_node or 1)
    named = None if rankfile is None else file
    if len(placement) < minimum_nodes:
        raise ConfigurationError(
            f"at least {minimum_nodes} nodes must have ranks, got {_counted(len(placement))}", file=named
        )
    if maximum_nodes is not None and len(placement) > maximum_nodes:
        total = sum(placement.values())
        raise ConfigurationError(
            f"{total} processes take {_counted(len(placement))}, more than the maximum of {maximum_nodes}", file=named
        )
    return placement


def _check_bounds(nodes: Sequence[Node], *, minimum_nodes: int, maximum_nodes: int | None) -> None:
    if minimum_nodes < 1:
        raise ConfigurationError(f"minimum number of nodes must be 1 or more, got {minimum_nodes}")
    if maximum_nodes is not None and maximum_nodes < minimum_nodes:
        raise ConfigurationError(
            f"maximum number of nodes must be at least the minimum of {minimum_nodes}, got {maximum_nodes}"
        )
    if minimum_nodes > len(nodes):
        raise ConfigurationError(
            f"minimum number of nodes must be at most the {len(nodes)} there are, got {minimum_nodes}"
        )


def _from_rankfile(rankfile: Mapping[str, int], *, processes: int | None, file: str) -> dict[str, int]:
    total = sum(rankfile.values())
    if total == 0:
        raise ConfigurationError("it starts no rank at all, expected 1 or more", file=file)
    if processes is not None and total != processes:
        raise ConfigurationError(f"ranks must add up to the {processes} processes asked for, got {total}", file=file)
    return {host: ranks for host, ranks in rankfile.items() if ranks}


def _same_on_each(nodes: Sequence[Node], ranks: int) -> dict[str, int]:
    for node in nodes:
        if ranks > node.cores:
            raise ConfigurationError(
                f"processes per node must be at most the {node.cores} cores of {node.name}, got {ranks}"
            )
    return {node.name: ranks for node in nodes}


def _filled(limits: Mapping[str, int], processes: int, *, minimum_nodes: int) -> dict[str, int]:
    if processes < minimum_nodes:
        raise ConfigurationError(f"processes must be at least 1 on each of {minimum_nodes} nodes, got {processes}")
    room = sum(limits.values())
    if processes > room:
        raise ConfigurationError(
            f"processes must be at most the {room} that {_counted(len(limits))} can hold, got {processes}"
        )
    placement: dict[str, int] = {}
    left = processes
    for name, limit in limits.items():
        if left:
            placement[name] = min(limit, left)
            left -= placement[name]
    if len(placement) >= minimum_nodes:
        return placement
    return _spread({name: limits[name] for name in list(limits)[:minimum_nodes]}, processes)


def _spread(limits: Mapping[str, int], processes: int) -> dict[str, int]:
    """Deal ranks evenly, earlier nodes first; what a small node cannot take goes to the others."""
    placement: dict[str, int] = {}
    left = processes
    # The smallest nodes first: each takes its fair share of what is left or all it can, so no later one overflows.
    names = list(limits)
    for position, name in enumerate(sorted(names, key=lambda name: (limits[name], -names.index(name)))):
        placement[name] = min(limits[name], left // (len(names) - position))
        left -= placement[name]
    return {name: placement[name] for name in names}


def resolve_changes(
    nodes: Sequence[Node],
    occupied: Mapping[str, int],
    changes: Sequence[tuple[str, int]],
    *,
    minimum_nodes: int,
    maximum_nodes: int,
) -> dict[str, int]:
    """Turn the pairs of command 6 into the change of each node.

    Growth of a class fills its first node with free cores, then the next; removal takes from its last node with ranks
    first. Changes of the same nodes add up, whatever name they go by, and the order of the pairs does not matter:
    single nodes come before classes. So that a migration moves, a class grows last where the command removes ranks,
    and shrinks last where it adds some.

    Parameters
    ----------
    nodes
        The nodes the application may use.
    occupied
        Active ranks of each node; nodes without any may be absent.
    changes
        Pairs of an alias or host name and the ranks to add (positive) or remove (negative) there.
    minimum_nodes, maximum_nodes
        Bounds on the number of nodes with ranks afterwards.

    Returns
    -------
    dict
        Node name -> ranks to add or remove, never 0, in the order of the nodes.

    Raises
    ------
    CommandError
        An unknown name, more ranks than there are free cores, more removed than there are, a number of nodes out of
        its bounds, or nothing to change.
    """
    ranks = {node.name: occupied.get(node.name, 0) for node in nodes}
    wanted: dict[tuple[Node, ...], int] = {}
    names: dict[tuple[Node, ...], str] = {}
    for name, delta in changes:
        found = find_nodes(nodes, name)
        wanted[found] = wanted.get(found, 0) + delta
        names.setdefault(found, name)
    for found, delta in sorted(wanted.items(), key=lambda item: len(item[0]) > 1):
        if delta < 0:
            from_last = found[::-1]
            grown_last = sorted(from_last, key=lambda node: ranks[node.name] > occupied.get(node.name, 0))
            _remove(ranks, grown_last, -delta, name=names[found])
        elif delta > 0:
            shrunk_last = sorted(found, key=lambda node: ranks[node.name] < occupied.get(node.name, 0))
            _add(ranks, shrunk_last, delta, name=names[found])
    net = {name: now - occupied.get(name, 0) for name, now in ranks.items() if now != occupied.get(name, 0)}
    if not net:
        raise CommandError("nothing to change: the numbers of ranks to add and remove come to 0 on every node")
    _check_result({**occupied, **ranks}, minimum_nodes=minimum_nodes, maximum_nodes=maximum_nodes)
    return net


def _add(ranks: dict[str, int], nodes: Sequence[Node], count: int, *, name: str) -> None:
    free = {node.name: max(0, node.cores - ranks[node.name]) for node in nodes}
    if count > sum(free.values()):
        raise CommandError(f"cannot add {_ranks(count)} to {name}, free cores there: {_where(free)}")
    for host, cores in free.items():
        taken = min(cores, count)
        ranks[host] += taken
        count -= taken


def _remove(ranks: dict[str, int], nodes: Sequence[Node], count: int, *, name: str) -> None:
    present = {node.name: ranks[node.name] for node in nodes}
    if count > sum(present.values()):
        raise CommandError(f"cannot remove {_ranks(count)} from {name}, ranks there: {_where(present)}")
    for host, held in present.items():
        taken = min(held, count)
        ranks[host] -= taken
        count -= taken


def _where(counts: Mapping[str, int]) -> str:
    """Say how many in all and on which nodes, on one line however many nodes there are."""
    some = [f"{count} on {host}" for host, count in counts.items() if count]
    more = f" and {len(some) - _LISTED_NODES} nodes more" if len(some) > _LISTED_NODES else ""
    return f"{sum(counts.values())}" + (f" ({', '.join(some[:_LISTED_NODES])}{more})" if some else "")


def _check_result(ranks: Mapping[str, int], *, minimum_nodes: int, maximum_nodes: int) -> None:
    used = sum(1 for count in ranks.values() if count > 0)
    if used == 0:
        raise CommandError("the change would leave no rank at all, expected 1 or more to stay")
    if used < minimum_nodes:
        raise CommandError(f"the change would leave ranks on {_counted(used)}, below the minimum of {minimum_nodes}")
    if used > maximum_nodes:
        raise CommandError(f"the change would put ranks on {_counted(used)}, above the maximum of {maximum_nodes}")


def _counted(nodes: int) -> str:
    return f"{nodes} node" if nodes == 1 else f"{nodes} nodes"


def _ranks(count: int) -> str:
    return f"{count} rank" if count == 1 else f"{count} ranks"
