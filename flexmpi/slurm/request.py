"""Slurm's notation of what a job asks for and what a node has: generic resources, trackable resources, constraints. Pure."""

from __future__ import annotations

import re

from flexmpi.cluster.request import Gres, Request
from flexmpi.numerals import whole_number
from flexmpi.slurm.names import present

_SIMPLE_CONSTRAINT = re.compile(r"[\w.:+-]+(?:[&|][\w.:+-]+)*")
_SUFFIXES = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4, "p": 1024**5}
_MB = 1024**2
# Trackable resources that are no generic ones; those with a slash in their names are told by it.
_NO_GRES = ("cpu", "mem", "node", "billing", "energy", "vmem", "pages")


def generic_resources(text: str) -> tuple[Gres, ...]:
    """Read generic resources.

    Slurm says ``gpu:a100:4(S:0-1)`` or ``bandwidth:lustre:no_consume:4G`` of a node, and ``gres:gpu:a100:2`` of a job, from 23.11
    on as ``gres/gpu:a100:2`` and with other resources between them.
    """
    parts = re.sub(r"\([^)]*\)", "", present(text.strip()) or "").lower().split(",")
    return tuple(found for part in parts if (found := _gres(part)) is not None)


def trackable_resources(text: str) -> dict[str, int]:
    """Read ``cpu=8,mem=2000M,node=2``: numbers by name, memory in MB; what is no number is left out."""
    counts = {name: _number(value, unit=_MB if name == "mem" else 1) for name, _, value in _pairs(text)}
    return {name: count for name, count in counts.items() if count is not None}


def memory_mb(text: str) -> int | None:
    """Read ``1500M`` or ``2G``, in MB; None where there is none, or it is 0: all that a node has."""
    return _number(text.strip(), unit=_MB) or None


def feature_sets(constraint: str | None) -> tuple[frozenset[str], ...] | None:
    """Read a constraint of words with ``&`` or ``|``: sets of features of which a node must have one.

    None without a constraint; nothing where it has counts or brackets, which are not understood.
    """
    if constraint is None:
        return None
    if not _SIMPLE_CONSTRAINT.fullmatch(constraint):
        return ()
    return tuple(frozenset(choice.split("&")) for choice in constraint.split("|"))


def minimum_nodes(trackable: str, *, count: int, maximum: int | None) -> int:
    """Return how many nodes a job that waits needs at least.

    Parameters
    ----------
    trackable
        What it asked for; there the number of nodes is the least of a range.
    count
        The number of nodes that Slurm says it needs: the most of a range, else what Slurm has reckoned.
    maximum
        The most it asked for; None where it named none.
    """
    least = trackable_resources(trackable).get("node")
    if least is None:
        return max(1, count)
    return max(1, least) if maximum is not None and maximum > least else max(1, least, count)


def job_request(
    *,
    tasks: int | None,
    cpus: int | None,
    cpus_per_task: int | None,
    cpus_per_node: int | None,
    tasks_per_node: int | None,
    threads_per_core: int | None,
    tasks_per_core: int | None,
    sockets_per_node: int | None,
    memory_per_node_mb: int | None,
    memory_per_cpu_mb: int | None,
    per_node: str,
    per_socket: str,
    per_task: str,
    per_job: str,
) -> Request:
    """Put together what Slurm says of a job: numbers, None or 0 where there are none, and generic resources in its notation."""
    tasks, cpus = tasks or 1, cpus or 1
    on_sockets = tuple(
        Gres(each.name, each.kind, each.count * (sockets_per_node or 1)) for each in generic_resources(per_socket)
    )
    return Request(
        tasks=tasks,
        cpus=cpus,
        # 22.05 leaves it out of its JSON.
        cpus_per_task=0 if cpus < tasks else max(cpus_per_task or 1, cpus // tasks),
        cpus_per_node=cpus_per_node or 1,
        tasks_per_node=tasks_per_node or None,
        one_thread_a_core=1 in (threads_per_core, tasks_per_core),
        memory_per_node_mb=memory_per_node_mb or None,
        memory_per_cpu_mb=memory_per_cpu_mb or None,
        gres_per_node=(*generic_resources(per_node), *on_sockets),
        gres_per_task=generic_resources(per_task),
        gres_per_job=generic_resources(per_job),
    )


def _gres(part: str) -> Gres | None:
    """Read one generic resource; None where it is another trackable one, or none."""
    name, *rest = part.removeprefix("gres/").removeprefix("gres:").replace("=", ":").split(":")
    if not name or name in _NO_GRES or "/" in name:
        return None
    rest = [word for word in rest if word != "no_consume"]
    count = _number(rest[-1]) if rest else None
    kinds = rest if count is None else rest[:-1]
    return Gres(name, kinds[0] if kinds else None, 1 if count is None else count)


def _pairs(text: str) -> list[tuple[str, str, str]]:
    return [part.partition("=") for part in text.strip().split(",")]


def _number(text: str, *, unit: int = 1) -> int | None:
    """Read a number with a suffix such as K or G, in units; without a suffix it is in units already."""
    found = re.fullmatch(r"([0-9]{1,15})(?:\.([0-9]{1,6}))?([kmgtp]?)", text.lower())
    if found is None or (number := whole_number(found[1], longest=15)) is None:
        return None
    if not found[3]:
        return number
    return int((number + float(f"0.{found[2] or 0}")) * _SUFFIXES[found[3]]) // unit
