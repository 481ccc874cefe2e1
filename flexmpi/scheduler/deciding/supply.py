"""What a snapshot of a resource manager says about which nodes may be used, and who waits. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from flexmpi.cluster.state import Node, NodeState, Snapshot
from flexmpi.scheduler.deciding.elastic import WaitingJob
from flexmpi.scheduler.deciding.suiting import Suitability
from flexmpi.scheduler.jobs.companions import companions

WAITS_FOR_NODES = frozenset({"Resources", "Priority"})
OUT_OF_SERVICE = frozenset(
    {
        NodeState.DOWN,
        NodeState.ERROR,
        NodeState.FUTURE,
        NodeState.DRAIN,
        NodeState.FAIL,
        NodeState.MAINTENANCE,
        NodeState.RESERVED,
        NodeState.REBOOT,
        NodeState.NOT_RESPONDING,
    }
)


@dataclass(frozen=True)
class Territory:
    """The nodes an agent may use.

    Attributes
    ----------
    partitions
        Only those of these; of all where it is empty.
    excluded
        Not these.
    """

    partitions: frozenset[str] = frozenset()
    excluded: frozenset[str] = field(default_factory=frozenset)

    def has(self, node: Node) -> bool:
        """Whether a node is in it."""
        inside = not self.partitions or not self.partitions.isdisjoint(node.partitions)
        return inside and node.name not in self.excluded


def idle_nodes(snapshot: Snapshot, territory: Territory) -> tuple[str, ...]:
    """Return the nodes that are idle as a whole, with nothing else said of them, and in the agent's territory."""
    return tuple(node.name for node in snapshot.nodes if node.is_free and territory.has(node))


def planned_nodes(snapshot: Snapshot, territory: Territory) -> tuple[str, ...]:
    """Return the idle nodes that the manager keeps for a job that waits, in the agent's territory."""
    return tuple(node.name for node in snapshot.nodes if node.is_planned and territory.has(node))


def waiting_jobs(snapshot: Snapshot) -> tuple[WaitingJob, ...]:
    """Return the jobs that wait for nodes and could start on those in service, the first to start first.

    A companion does not count: it is part of a change that the agent or the job itself has asked for.
    """
    own = {job.job_id for group in companions(snapshot).values() for job in group}
    waiting = [
        job
        for job in snapshot.jobs
        if job.is_waiting and job.job_id not in own and (job.reason is None or job.reason in WAITS_FOR_NODES)
    ]
    waiting.sort(key=lambda job: (-(job.priority or 0), job.job_id))
    in_service = (node for node in snapshot.nodes if OUT_OF_SERVICE.isdisjoint(node.states))
    suitability = Suitability(in_service, partitions=snapshot.partitions, groups=snapshot.groups, in_doubt=True)
    starts = ((job, suitability.start(job)) for job in waiting)
    return tuple(
        WaitingJob(
            job_id=job.job_id,
            nodes=start.nodes,
            maximum=start.maximum,
            suitable=start.suitable,
            required=start.required,
            totals=start.totals,
            is_settled=job.reason is not None,
        )
        for job, start in starts
        if start is not None
    )
