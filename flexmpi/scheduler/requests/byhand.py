"""What people want of a job's size, as a decision or as the reason why not; and what of it there is to do later. Pure.

A job may have an order under way, and others that wait: what is wanted then is meant of the nodes it will have.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from flexmpi.cluster.hostlists import fold_hosts
from flexmpi.errors import CommandError
from flexmpi.protocol.requests import Expand, Shrink
from flexmpi.scheduler.deciding.elastic import Decision, ElasticJob, View
from flexmpi.scheduler.deciding.policies.capping import growth_left_w


def expansion(request: Expand, job: ElasticJob, view: View) -> Decision:
    """Choose the nodes that a person wants a job to get.

    Raises
    ------
    CommandError
        It cannot have them; says which, and what is possible.
    """
    usable = [node for node in view.free if node in job.suitable and node not in job.joining]
    if job.size + (len(request.nodes) or request.count or 1) > job.maximum_nodes:
        raise CommandError(f"the job has {_so_many(job.size)} and may have {job.maximum_nodes} at most")
    if request.nodes:
        _refuse_others(request.nodes, usable, job, view)
        add = request.nodes
    else:
        count = request.count or 1
        if count > len(usable):
            raise CommandError(f"{_so_many(count)} wanted, {_so_many(len(usable))} free for this job{_named(usable)}")
        add = tuple(usable[:count])
    if job.extra_allowed is not None and len(add) > job.extra_allowed:
        more = _so_many(job.extra_allowed) if job.extra_allowed > 0 else "no node"
        raise CommandError(f"the site's limits allow it {more} more")
    return Decision(key=job.key, add=add)


def shrinking(request: Shrink, job: ElasticJob) -> Decision:
    """Choose the nodes that a person wants a job to leave: those first that have not come yet, then those that came last.

    Raises
    ------
    CommandError
        It cannot leave them; says which, and what is possible.
    """
    coming = [node for node in reversed(job.joining) if node not in job.held and node not in job.leaving]
    can_leave = (*coming, *job.removable)
    if request.nodes:
        for node in request.nodes:
            if node in job.leaving:
                raise CommandError(f"the job is leaving {node} already")
            if node not in job.held and node not in coming:
                raise CommandError(f"the job does not hold {node}, it holds {fold_hosts(job.held)}")
            if node not in can_leave:
                raise CommandError(f"{node} is the node that the job cannot leave")
        leave = request.nodes
    else:
        count = request.count or 1
        if count > len(can_leave):
            raise CommandError(f"{_so_many(count)} wanted, the job can leave {_so_many(len(can_leave))}")
        leave = can_leave[:count]
    if job.size - len(leave) < job.minimum_nodes:
        raise CommandError(f"the job has {_so_many(job.size)} and needs {job.minimum_nodes} at least")
    return Decision(key=job.key, leave=leave)


def as_after(job: ElasticJob, decisions: Iterable[Decision]) -> ElasticJob:
    """Return a job as if these had been ordered too."""
    for decision in decisions:
        job = replace(job, joining=(*job.joining, *decision.add), leaving=(*job.leaving, *decision.leave))
    return job


def takes_back(decision: Decision | None, joining: Collection[str]) -> bool:
    """Whether what waits for its turn would leave all nodes that an order gives: then that need not come about."""
    return decision is not None and bool(joining) and set(joining) <= set(decision.leave)


def now_of(request: object, decision: Decision | None, job: ElasticJob, view: View) -> Decision | None:
    """Return what is to be done of a request whose turn has come; None where nothing of it is left to be done to its nodes.

    Parameters
    ----------
    decision
        What was to be done when it was accepted. The same nodes are left, as far as the job has come to hold them; for growth
        that names none they are chosen again.

    Raises
    ------
    CommandError
        It is not possible any more.
    """
    match request:
        case Expand():
            chosen = expansion(request, job, view)
            require_power(chosen, view)
            return chosen
        case Shrink() if decision is not None:
            left = tuple(node for node in decision.leave if node in job.held)
            if not left:
                return None
            return shrinking(request.model_copy(update={"nodes": left, "count": None}), job)
        case _:
            return None


def require_power(decision: Decision, view: View) -> None:
    """Refuse growth that the power cap has no room for; raises CommandError."""
    unknown = [node for node in decision.add if not view.power.may_be_given(node)]
    if unknown:
        raise CommandError(f"there is a power cap, and no watts are declared for {fold_hosts(unknown)}")
    more_w, left_w = view.power.dynamic_w(decision.add), growth_left_w(view)
    if more_w > max(0.0, left_w):
        cap_w = view.power.cap_w
        raise CommandError(
            f"that would draw {more_w:g} W more, and the power cap of {cap_w:g} W leaves {max(0.0, left_w):g} W"
        )


def _refuse_others(wanted: Collection[str], usable: Collection[str], job: ElasticJob, view: View) -> None:
    for node in wanted:
        if node in job.leaving:
            raise CommandError(f"the job is leaving {node} just now")
        if node in job.held or node in job.arriving:
            raise CommandError(f"the job has {node} already")
        if node in job.joining:
            raise CommandError(f"the job is getting {node} already")
        if node not in usable:
            why = "is not one that this job can run on" if node in view.free else "is not free"
            raise CommandError(f"{node} {why}{_named(usable)}")


def _so_many(count: int) -> str:
    return f"{count} node{'' if count == 1 else 's'}"


def _named(nodes: Collection[str]) -> str:
    return f" (free for it: {fold_hosts(nodes)})" if nodes else " (none is free for it)"
