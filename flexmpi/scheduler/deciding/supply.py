"""What a snapshot of a resource manager says about who could use which node, and who waits. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from flexmpi.cluster.state import Job, Node, NodeState, Snapshot
from flexmpi.scheduler.deciding.elastic import WaitingJob
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


def idle_nodes(snapshot: Snapshot, territory: Territory) -> tuple[str, ...]:
    """Return the nodes that are idle as a whole, with nothing else said of them, and in the agent's territory."""
    return tuple(node.name for node in snapshot.nodes if node.is_free and territory.has(node))


def planned_nodes(snapshot: Snapshot, territory: Territory) -> tuple[str, ...]:
    """Return the idle nodes that the manager keeps for a job that waits, in the agent's territory."""
    return tuple(node.name for node in snapshot.nodes if node.is_planned and territory.has(node))


class Suitability:
    """Which of some nodes suit a job, whoever has them now; found out once for all jobs with the same wishes.

    Parameters
    ----------
    in_doubt
        Whether a node suits a job whose wishes are not understood.
    """

    def __init__(self, nodes: Iterable[Node], *, in_doubt: bool) -> None:
        self._nodes = tuple(nodes)
        self._in_doubt = in_doubt
        self._found: dict[tuple[object, ...], frozenset[str]] = {}

    def of(self, job: Job) -> frozenset[str]:
        """Return the names of the nodes that suit a job."""
        wishes = (job.partitions, job.excluded_nodes, job.gres, job.constraint, _only(job))
        if wishes not in self._found:
            self._found[wishes] = frozenset(n.name for n in self._nodes if _suits(job, n, in_doubt=self._in_doubt))
        return self._found[wishes]


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
    in_service = (node for node in snapshot.nodes if OUT_OF_SERVICE.isdisjoint(node.states))
    suitability = Suitability(in_service, in_doubt=True)
    return tuple(
        WaitingJob(
            job_id=job.job_id,
            nodes=job.minimum_nodes,
            suitable=suitability.of(job),
            is_settled=job.reason is not None,
        )
        for job in waiting
    )


def _only(job: Job) -> tuple[str, ...]:
    """Return the nodes that a waiting job names, where it names all that it needs; none where others suit it too."""
    names_all = job.is_waiting and len(job.required_nodes) >= job.minimum_nodes
    return job.required_nodes if names_all else ()


def _suits(job: Job, node: Node, *, in_doubt: bool) -> bool:
    if job.partitions and set(job.partitions).isdisjoint(node.partitions):
        return False
    if node.name in job.excluded_nodes:
        return False
    if (only := _only(job)) and node.name not in only:
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
