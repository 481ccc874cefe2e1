"""What people want of a job's size, as a decision or as the reason why not. Pure."""

from __future__ import annotations

from collections.abc import Collection

from flexmpi.errors import CommandError
from flexmpi.protocol.requests import Expand, Shrink
from flexmpi.scheduler.elastic import Decision, ElasticJob, View
from flexmpi.scheduler.hostlists import fold_hosts


def expansion(request: Expand, job: ElasticJob, view: View) -> Decision:
    """Choose the nodes that a person wants a job to get.

    Raises
    ------
    CommandError
        It cannot have them; says which, and what is possible.
    """
    usable = [node for node in view.free if node in job.suitable]
    if request.nodes:
        _refuse_others(request.nodes, usable, job, view)
        add = request.nodes
    else:
        count = request.count or 1
        if count > len(usable):
            raise CommandError(f"{_so_many(count)} wanted, {_so_many(len(usable))} free for this job{_named(usable)}")
        add = tuple(usable[:count])
    if job.size + len(add) > job.maximum_nodes:
        raise CommandError(f"the job has {_so_many(job.size)} and may have {job.maximum_nodes} at most")
    if job.extra_allowed is not None and len(add) > job.extra_allowed:
        raise CommandError(f"the site's limits allow it {_so_many(job.extra_allowed)} more")
    return Decision(key=job.key, add=add)


def shrinking(request: Shrink, job: ElasticJob) -> Decision:
    """Choose the nodes that a person wants a job to leave.

    Raises
    ------
    CommandError
        It cannot leave them; says which, and what is possible.
    """
    if request.nodes:
        for node in request.nodes:
            if node not in job.held:
                raise CommandError(f"the job does not hold {node}, it holds {fold_hosts(job.held)}")
            if node not in job.removable:
                raise CommandError(f"{node} is the node that the job cannot leave")
        leave = request.nodes
    else:
        count = request.count or 1
        if count > len(job.removable):
            raise CommandError(f"{_so_many(count)} wanted, the job can leave {_so_many(len(job.removable))}")
        leave = job.removable[:count]
    if job.size - len(leave) < job.minimum_nodes:
        raise CommandError(f"the job has {_so_many(job.size)} and needs {job.minimum_nodes} at least")
    return Decision(key=job.key, leave=leave)


def _refuse_others(wanted: Collection[str], usable: Collection[str], job: ElasticJob, view: View) -> None:
    for node in wanted:
        if node in job.held or node in job.arriving:
            raise CommandError(f"the job has {node} already")
        if node not in usable:
            why = "is not one that this job can run on" if node in view.free else "is not free"
            raise CommandError(f"{node} {why}{_named(usable)}")


def _so_many(count: int) -> str:
    return f"{count} node{'' if count == 1 else 's'}"


def _named(nodes: Collection[str]) -> str:
    return f" (free for it: {fold_hosts(nodes)})" if nodes else " (none is free for it)"
