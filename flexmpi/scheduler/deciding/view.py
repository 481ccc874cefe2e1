"""Puts together what a policy sees: jobs from the ledger, nodes and queue from a snapshot, bounds from the settings. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

from flexmpi.cluster.state import JobState, Snapshot
from flexmpi.scheduler.deciding.elastic import (
    ASSUMED_STALL_S,
    ASSUMED_START_S,
    Decision,
    ElasticJob,
    MoveCost,
    Rules,
    View,
    WaitingJob,
)
from flexmpi.scheduler.deciding.power import UNCAPPED, Power, drawn_by_others
from flexmpi.scheduler.deciding.suiting import Suitability
from flexmpi.scheduler.deciding.supply import Territory, idle_nodes, planned_nodes
from flexmpi.scheduler.jobs.companions import companions, nodes_of
from flexmpi.scheduler.jobs.ledger import Ledger, Member
from flexmpi.scheduler.jobs.orders import Order

USUAL_RULES = Rules()
LONGEST_CHANGE_S = 1e6


@dataclass(frozen=True)
class Bounds:
    """How many extra nodes, those beyond their minimum, the jobs of an account or a partition may have together."""

    accounts: Mapping[str, int] = field(default_factory=dict)
    partitions: Mapping[str, int] = field(default_factory=dict)

    def groups(self, job: ElasticJob) -> list[tuple[str, str]]:
        """Return the groups with a bound that a job is in."""
        account = [("account", job.account)] if job.account in self.accounts else []
        partitions = [("partition", name) for name in job.partitions if name in self.partitions]
        return [(kind, name or "") for kind, name in (*account, *partitions)]

    def of(self, group: tuple[str, str]) -> int:
        """Return the bound of a group."""
        kind, name = group
        return self.accounts[name] if kind == "account" else self.partitions[name]


def build_view(
    snapshot: Snapshot,
    ledger: Ledger,
    *,
    waiting: Sequence[WaitingJob],
    territory: Territory,
    bounds: Bounds,
    idle_since: Mapping[str, float],
    settle_s: float,
    now: float,
    doubted: Collection[int] = (),
    power: Power = UNCAPPED,
    rules: Rules = USUAL_RULES,
) -> View:
    """Return what a policy decides by.

    Parameters
    ----------
    waiting
        What `waiting_jobs` says of the snapshot: with many jobs that takes a while, and it is the same for every view of it.
    idle_since
        Since when each node has been free, see `still_free`.
    settle_s
        How long a node must have been free before it is given out.
    doubted
        Jobs that wait and are left out: they did not start with what was free for them, see `second_looks`.
    power
        The watts of nodes and the cap; what others draw is found out here.
    rules
        By which sizes are chosen.
    """
    free = free_nodes(snapshot, ledger, territory)
    inside = Suitability(
        (node for node in snapshot.nodes if territory.has(node)),
        partitions=snapshot.partitions,
        groups=snapshot.groups,
        in_doubt=False,
    )
    jobs = [_elastic(member, snapshot, ledger, inside, now, rules) for member in ledger.members.values()]
    others_w = drawn_by_others(snapshot.nodes, power.watts, frozenset(ledger.promised()))
    return View(
        now=now,
        jobs=with_allowances([job for job in jobs if job is not None], bounds),
        free=free,
        planned=_unpromised(planned_nodes(snapshot, territory), snapshot, ledger),
        settled=frozenset(node for node in free if now - idle_since.get(node, now) >= settle_s),
        waiting=tuple(job for job in waiting if job.job_id not in doubted),
        power=replace(power, others_w=others_w),
        rules=rules,
    )


def free_nodes(snapshot: Snapshot, ledger: Ledger, territory: Territory) -> tuple[str, ...]:
    """Return the idle nodes that no job has, waits for as a companion, or is promised."""
    return _unpromised(idle_nodes(snapshot, territory), snapshot, ledger)


def _unpromised(nodes: Collection[str], snapshot: Snapshot, ledger: Ledger) -> tuple[str, ...]:
    promised = set(ledger.promised())
    for parent, group in companions(snapshot).items():
        promised.update(nodes_of(snapshot.job_of[parent], group))
    return tuple(node for node in nodes if node not in promised)


def still_free(free: Collection[str], idle_since: Mapping[str, float], now: float) -> dict[str, float]:
    """Return since when each free node has been free, from what was known before."""
    return {node: idle_since.get(node, now) for node in free}


def _elastic(
    member: Member, snapshot: Snapshot, ledger: Ledger, inside: Suitability, now: float, rules: Rules
) -> ElasticJob | None:
    job, said = member.job, member.said
    orders = ledger.orders_of(member.key)
    runs = job.state is JobState.RUNNING
    withdrawable = ledger.withdrawable(member, now) if runs else None
    return ElasticJob(
        key=member.key,
        job_id=job.job_id,
        name=said.name,
        uid=said.uid,
        user=said.user,
        account=job.account,
        partitions=job.partitions,
        held=member.held,
        arriving=member.arriving,
        departing=member.departing,
        joining=tuple(node for order in orders for node in order.joining),
        leaving=tuple(node for order in orders for node in order.leaving),
        returning=None if withdrawable is None else _returning(withdrawable, member, snapshot),
        minimum_nodes=said.minimum_nodes,
        maximum_nodes=said.maximum_nodes,
        suitable=inside.of(job),
        may_grow=runs and ledger.may_grow(member, now),
        may_shrink=runs and ledger.may_change(member, now),
        forecast=member.samples.forecast,
        move=_move_cost(member),
        ends_at=job.ends_at,
        iterations_left=_iterations_left(member),
        weight=rules.weights.get(job.account or "", 1.0),
    )


def _returning(order: Order, member: Member, snapshot: Snapshot) -> tuple[str, ...]:
    """Return the nodes of an order that nobody else has: idle, or the job's or its companions' already."""
    idle = {node.name for node in snapshot.nodes if node.is_free}
    own = {node for job in (member.job, *member.companions) for node in job.nodes}
    return tuple(node for node in order.joining if node in own or node in idle)


def _iterations_left(member: Member) -> int | None:
    """Return how many iterations a job's loop has left at most, by its last word."""
    latest = member.latest
    return None if latest is None or latest.maximum is None else max(0, latest.maximum - latest.iteration)


def _move_cost(member: Member) -> MoveCost:
    """Return the mean of what a job's changes have cost it; what is assumed as long as there is none."""
    # What a job tells of itself is bounded: it must not upset the sums of all.
    starts = [min(cost.start_s, LONGEST_CHANGE_S) for cost in member.costs if cost.start_s is not None]
    return MoveCost(
        start_s=fmean(starts) if starts else ASSUMED_START_S,
        stall_s=fmean(min(cost.stall_s, LONGEST_CHANGE_S) for cost in member.costs)
        if member.costs
        else ASSUMED_STALL_S,
    )


def with_allowances(jobs: Sequence[ElasticJob], bounds: Bounds) -> tuple[ElasticJob, ...]:
    """Return the jobs with how many more nodes the bounds let each of them have."""
    left = {
        group: bounds.of(group) - sum(extra(job) for job in jobs if group in bounds.groups(job))
        for group in {group for job in jobs for group in bounds.groups(job)}
    }
    return tuple(
        replace(job, extra_allowed=max(0, min(left[group] for group in groups)))
        if (groups := bounds.groups(job))
        else job
        for job in jobs
    )


def extra(job: ElasticJob) -> int:
    """Return how many nodes a job has, or is promised, beyond its minimum."""
    return max(0, job.size - job.minimum_nodes)


def within_bounds(decisions: Sequence[Decision], view: View, bounds: Bounds) -> tuple[Decision, ...]:
    """Return the decisions without what several jobs of a group would get beyond its bound together."""
    left: dict[tuple[str, str], int] = {}
    kept: list[Decision] = []
    for decision in decisions:
        job = view.job_of[decision.key]
        groups = bounds.groups(job)
        for group in groups:
            left.setdefault(group, job.extra_allowed or 0)
        # Nodes up to the minimum are not extra.
        missing = max(0, job.minimum_nodes - job.size)
        allowed = min([missing + left[group] for group in groups], default=len(decision.add))
        add = decision.add[: max(0, allowed)]
        for group in groups:
            left[group] -= max(0, len(add) - missing)
        if add or decision.leave:
            kept.append(replace(decision, add=add))
    return tuple(kept)


def give_back(view: View) -> tuple[Decision, ...]:
    """Have every job go back to its minimum: what mode ``off`` does."""
    return tuple(
        Decision(
            key=job.key, leave=job.removable[: job.size - job.minimum_nodes], why="the agent is being switched off"
        )
        for job in view.jobs
        if job.may_shrink and job.size > job.minimum_nodes and job.removable
    )


def without_growth(decisions: Sequence[Decision]) -> tuple[Decision, ...]:
    """Return what is given back only: what mode ``drain`` lets through."""
    return tuple(replace(decision, add=()) for decision in decisions if decision.leave)
