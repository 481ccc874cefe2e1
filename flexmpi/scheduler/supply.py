"""What a snapshot of a resource manager says about who could use which node, and who waits. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from flexmpi.scheduler.elastic import WaitingJob
from flexmpi.scheduler.state import Job, Node, NodeState, Snapshot

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
COMPANION = re.compile(r"flexmpi-([0-9]+)")
SIMPLE_CONSTRAINT = re.compile(r"[\w.:+-]+(?:[&|][\w.:+-]+)*")


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


def companions(snapshot: Snapshot) -> Mapping[int, tuple[Job, ...]]:
    """Return the jobs that hold a node for another, or wait for one, by the number of the other: its owner's own, named so."""
    found: dict[int, tuple[Job, ...]] = {}
    for job in snapshot.jobs:
        named = COMPANION.fullmatch(job.name)
        parent = snapshot.job_of.get(int(named[1])) if named else None
        if parent is not None and parent.uid == job.uid and not job.is_ended:
            found[parent.job_id] = (*found.get(parent.job_id, ()), job)
    return found


def nodes_of(job: Job, its_companions: Collection[Job]) -> tuple[str, ...]:
    """Return the nodes that a job and its companions have, or are sure to get: those they wait for by name too."""
    wanted = (node for companion in its_companions for node in (companion.nodes or companion.required_nodes))
    return tuple(dict.fromkeys((*job.nodes, *wanted)))


def idle_nodes(snapshot: Snapshot, territory: Territory) -> tuple[str, ...]:
    """Return the nodes that are idle as a whole, with nothing else said of them, and in the agent's territory."""
    return tuple(node.name for node in snapshot.nodes if node.is_free and territory.has(node))


def suitable_nodes(job: Job, snapshot: Snapshot) -> frozenset[str]:
    """Return the nodes that an elastic job could be given, whoever has them now; none where its wishes are not understood."""
    return frozenset(node.name for node in snapshot.nodes if _suits(job, node, in_doubt=False))


def waiting_jobs(snapshot: Snapshot) -> tuple[WaitingJob, ...]:
    """Return the jobs that wait for nodes, the first to start first.

    A companion does not count: it is part of a change that the agent or the job itself has asked for.
    """
    own = {job.job_id for group in companions(snapshot).values() for job in group}
    waiting = [
        job
        for job in snapshot.jobs
        if job.is_waiting and job.job_id not in own and (job.reason is None or job.reason in WAITS_FOR_NODES)
    ]
    waiting.sort(key=lambda job: (-(job.priority or 0), job.job_id))
    return tuple(
        WaitingJob(
            job_id=job.job_id,
            nodes=job.minimum_nodes,
            suitable=frozenset(
                node.name
                for node in snapshot.nodes
                if OUT_OF_SERVICE.isdisjoint(node.states) and _suits(job, node, in_doubt=True)
            ),
            is_settled=job.reason is not None,
        )
        for job in waiting
    )


def _suits(job: Job, node: Node, *, in_doubt: bool) -> bool:
    if job.partitions and set(job.partitions).isdisjoint(node.partitions):
        return False
    if node.name in job.excluded_nodes:
        return False
    names_all = job.is_waiting and len(job.required_nodes) >= job.minimum_nodes
    if names_all and node.name not in job.required_nodes:
        return False
    if job.gres and not _names_of_gres(job.gres) <= _names_of_gres(node.gres or ""):
        return False
    return _has_features(node, job.constraint, in_doubt=in_doubt)


def _has_features(node: Node, constraint: str | None, *, in_doubt: bool) -> bool:
    """Whether a node has the features of a constraint of words with ``&`` or ``|``; counts and brackets are in doubt."""
    if constraint is None:
        return True
    if not SIMPLE_CONSTRAINT.fullmatch(constraint):
        return in_doubt
    features = set(node.features)
    return any(set(choice.split("&")) <= features for choice in constraint.split("|"))


def _names_of_gres(text: str) -> set[str]:
    words = re.sub(r"\([^)]*\)", "", text).split(",")
    return {word.removeprefix("gres/").removeprefix("gres:").split(":")[0].split("=")[0] for word in words if word}
