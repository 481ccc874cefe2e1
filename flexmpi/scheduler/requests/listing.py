"""The rows that people's commands show: jobs with their companions as one, and nodes. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from flexmpi.cluster.state import Job, Snapshot, name_of
from flexmpi.protocol.replies import JobList, JobRow, NodeList, NodeRow
from flexmpi.scheduler.deciding.power import UNCAPPED, Power
from flexmpi.scheduler.deciding.supply import Territory
from flexmpi.scheduler.jobs.companions import companions
from flexmpi.scheduler.jobs.ledger import Ledger, Member
from flexmpi.scheduler.jobs.orders import Stage

SECONDS_PER_HOUR = 3600.0
IN_WORDS: Mapping[Stage, str] = {Stage.DECIDED: "ordered", Stage.TAKEN: "under way"}
"""What an open order is said to be."""


def job_list(snapshot: Snapshot, ledger: Ledger, *, now: float, waiting: Mapping[str, int]) -> JobList:
    """Return all jobs that are not over, companions folded into the jobs they work for.

    Parameters
    ----------
    waiting
        How many orders of people wait for each job, by its key.
    """
    groups = companions(snapshot)
    folded = {job.job_id for group in groups.values() for job in group}
    members = {member.job.job_id: member for member in ledger.members.values()}
    rows = []
    for job in snapshot.jobs:
        if job.is_ended or job.job_id in folded:
            continue
        member = members.get(job.job_id)
        rows.append(
            _rigid_row(job, now=now)
            if member is None
            else _elastic_row(
                job,
                member,
                groups.get(job.job_id, ()),
                why=_what_happens(member, ledger, now=now, waiting=waiting.get(member.key, 0)),
            )
        )
    return JobList(jobs=tuple(rows))


def _rigid_row(job: Job, *, now: float) -> JobRow:
    hours = 0.0 if job.is_waiting else len(job.nodes) * _running_hours(job, now)
    return JobRow(
        job=name_of(job),
        name=job.name,
        uid=job.uid,
        user=job.user,
        state=job.state.value,
        why=job.reason if job.is_waiting else None,
        elastic=False,
        nodes=job.nodes,
        minimum_nodes=max(1, job.minimum_nodes),
        maximum_nodes=max(1, job.maximum_nodes or job.minimum_nodes),
        node_hours=hours,
    )


def _elastic_row(job: Job, member: Member, group: tuple[Job, ...], *, why: str | None) -> JobRow:
    return JobRow(
        job=name_of(job),
        name=member.said.name,
        uid=member.said.uid,
        user=member.said.user,
        state=job.state.value,
        why=why,
        elastic=True,
        nodes=tuple(node for node in member.nodes if node not in member.departing),
        ranks=sum(member.ranks.values()),
        minimum_nodes=member.said.minimum_nodes,
        maximum_nodes=member.said.maximum_nodes,
        companions=tuple(companion.job_id for companion in group),
        node_hours=member.node_seconds / SECONDS_PER_HOUR,
    )


def _what_happens(member: Member, ledger: Ledger, *, now: float, waiting: int) -> str | None:
    """Say what is under way for a job, or why it is left alone."""
    if orders := ledger.orders_of(member.key):
        after = f", {waiting} more to come" if waiting else ""
        order, own = orders[0], f"job {name_of(member.job)}: "
        return f"{order.what.removeprefix(own)}: {order.withdrawn or IN_WORDS[order.stage]}{after}"
    if now - member.heard_at > ledger.timing.silent_s:
        return f"not heard from for {now - member.heard_at:.0f} s"
    if now < member.grow_from:
        what = "left alone" if now < member.wait_until else "does not grow"
        return f"{what} for {member.grow_from - now:.0f} s after a change that failed"
    if member.changed_at is not None and len(member.held) < member.said.maximum_nodes:
        cool_down_s = member.changed_at + ledger.timing.cool_down_s - now
        if cool_down_s > 0:
            return f"no policy lets it grow for {cool_down_s:.0f} s after its last change"
    return None


def find_member(name: str, ledger: Ledger) -> Member | None:
    """Return the elastic job that a person means: by its number, its place in an array, or its key."""
    for member in ledger.members.values():
        if name in (member.key, name_of(member.job), str(member.job.job_id)):
            return member
    return None


def node_list(snapshot: Snapshot, ledger: Ledger, *, territory: Territory, power: Power = UNCAPPED) -> NodeList:
    """Return all nodes, who has each, why the agent cannot give it to a job, and what it draws."""
    holders = _holders(snapshot, ledger)
    left = {node: member for member in ledger.members.values() for node in member.departing}
    promised = {node: order for order in ledger.orders.values() for node in order.joining}
    rows = []
    for node in snapshot.nodes:
        why = None
        if not node.partitions and "partitions" not in snapshot.hidden:
            why = "in no partition: no job can have it"
        elif not territory.has(node):
            why = "not the agent's to give"
        elif node.name in promised:
            why = f"promised: {promised[node.name].what}"
        elif node.name in left and not node.is_free:
            why = f"job {name_of(left[node.name].job)} has left it"
        elif node.name not in holders and not node.is_free:
            why = node.reason or "not idle"
        watts = power.watts.get(node.name)
        rows.append(
            NodeRow(
                node=node.name,
                cores=node.cores,
                states=tuple(sorted(state.value for state in node.states)),
                job=holders.get(node.name),
                why=None if node.name in holders and not why else why,
                idle_w=None if watts is None else watts.idle_w,
                dynamic_w=None if watts is None else watts.dynamic_w,
                watts_source=None if watts is None else watts.source,
            )
        )
    return NodeList(nodes=tuple(rows))


def _holders(snapshot: Snapshot, ledger: Ledger) -> Mapping[str, str]:
    groups = companions(snapshot)
    parent_of = {job.job_id: snapshot.job_of[parent] for parent, group in groups.items() for job in group}
    holders = {
        node: name_of(parent_of.get(job.job_id, job))
        for job in snapshot.jobs
        if not job.is_ended and not job.is_waiting
        for node in job.nodes
    }
    members = ledger.members.values()
    own = {node: name_of(member.job) for member in members for node in member.held}
    # The snapshot may be older than the job's word.
    left = {node for member in members for node in member.departing}
    return {node: job for node, job in holders.items() if node not in left} | own


def _running_hours(job: Job, now: float) -> float:
    return max(0.0, now - job.started_at) / SECONDS_PER_HOUR if job.started_at is not None else 0.0
