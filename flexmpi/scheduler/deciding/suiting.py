"""Which nodes suit a job, in which of its partitions, and how many of them it needs. Pure.

Slurm decides; what is reckoned here is what it could not do otherwise. So the rules err towards "could": a node is left out only
where it cannot be, and a number of nodes is the least that could do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from flexmpi.cluster.request import Request, count_of
from flexmpi.cluster.state import Job, Node, Partition
from flexmpi.scheduler.deciding.elastic import Total

ROOT = 0


@dataclass(frozen=True)
class Start:
    """Where a job that waits could start.

    Attributes
    ----------
    nodes
        How many it needs at least.
    maximum
        And takes at most; None without a bound.
    suitable
        Those it could run on, whoever has them now.
    required
        Those of them that it must have.
    totals
        What its nodes must have together, where not any `nodes` of `suitable` have it.
    """

    nodes: int
    maximum: int | None
    suitable: frozenset[str]
    required: frozenset[str]
    totals: tuple[Total, ...] = ()


class Suitability:
    """Which of some nodes suit a job, whoever has them now; found out once for all jobs with the same wishes.

    Parameters
    ----------
    partitions
        Those of which anything is known; any other lets every job in.
    groups
        Of users, by their number; one who is not in it may be in any.
    in_doubt
        Whether a node suits a job whose constraint is not understood.
    """

    def __init__(
        self,
        nodes: Iterable[Node],
        *,
        partitions: Iterable[Partition] = (),
        groups: Mapping[int, frozenset[str]] | None = None,
        in_doubt: bool,
    ) -> None:
        self._nodes = tuple(nodes)
        self._partitions = {partition.name: partition for partition in partitions}
        self._groups = groups or {}
        self._in_doubt = in_doubt
        self._additions: dict[object, frozenset[str]] = {}
        self._starts: dict[object, Start | None] = {}

    def of(self, job: Job) -> frozenset[str]:
        """Return the nodes that a job could be given one by one: each by a job of one task, of its own partition and kind."""
        inside = tuple(name for name in job.partitions if self._takes_one_more(name, job))
        wishes = (bool(job.partitions), inside, job.excluded_nodes, job.constraint, job.request)
        if wishes not in self._additions:
            found = self._that_suit(job, job.request.of_one_task(), inside)
            self._additions[wishes] = frozenset(node.name for node in found)
        return self._additions[wishes]

    def start(self, job: Job) -> Start | None:
        """Return where a job that waits could start; None where all nodes together would not do."""
        inside = tuple(name for name in job.partitions if self._lets_start(name, job))
        size = (job.minimum_nodes, job.maximum_nodes)
        wishes = (
            bool(job.partitions),
            inside,
            job.required_nodes,
            job.excluded_nodes,
            job.constraint,
            job.request,
            size,
        )
        if wishes not in self._starts:
            self._starts[wishes] = self._start(job, inside)
        return self._starts[wishes]

    def _takes_one_more(self, name: str, job: Job) -> bool:
        partition = self._partitions.get(name)
        return partition is None or (
            partition.accepts_jobs
            and partition.starts_jobs
            and partition.minimum_nodes <= 1
            and partition.maximum_nodes != 0
            and lets_in(partition, job, self._groups.get(job.uid))
        )

    def _lets_start(self, name: str, job: Job) -> bool:
        partition = self._partitions.get(name)
        return partition is None or (
            partition.starts_jobs
            and (job.maximum_nodes is None or partition.minimum_nodes <= job.maximum_nodes)
            and (partition.maximum_nodes is None or job.minimum_nodes <= partition.maximum_nodes)
            and lets_in(partition, job, self._groups.get(job.uid))
        )

    def _that_suit(self, job: Job, request: Request, inside: Sequence[str]) -> list[Node]:
        return [
            node
            for node in self._nodes
            if (not job.partitions or not set(inside).isdisjoint(node.partitions))
            and node.name not in job.excluded_nodes
            and _has(node, request)
            and _has_features(node, job.constraint, in_doubt=self._in_doubt)
        ]

    def _start(self, job: Job, inside: Sequence[str]) -> Start | None:
        least, most = self._bounds(job, inside)
        nodes = self._that_suit(job, job.request, inside)
        totals = [Total(needed, {node.name: of(node) for node in nodes}) for needed, of in _amounts(job.request)]
        suitable = frozenset(node.name for node in nodes).intersection(*(total.useful(most) for total in totals))
        required = frozenset(job.required_nodes)
        needed = max([least, len(required), *(total.fewest() for total in totals)])
        if needed == len(required) and not all(total.have_it(required, most=most) for total in totals):
            needed += 1
        if not required <= suitable or needed > len(suitable) or (most is not None and needed > most):
            return None
        if needed == len(required):
            return Start(needed, most, required, required)
        return Start(
            needed, most, suitable, required, tuple(total for total in totals if not total.any_have_it(needed))
        )

    def _bounds(self, job: Job, inside: Sequence[str]) -> tuple[int, int | None]:
        """Return how many nodes a job may have, at least and at most, in that of its partitions that leaves it most room."""
        bounds = [self._partitions.get(name) for name in inside] or [None]
        least = min(0 if bound is None else bound.minimum_nodes for bound in bounds)
        limits = [bound.maximum_nodes for bound in bounds if bound is not None and bound.maximum_nodes is not None]
        most = [] if job.maximum_nodes is None else [job.maximum_nodes]
        if len(limits) == len(bounds):
            most.append(max(limits))
        return max(least, job.minimum_nodes), min(most, default=None)


def lets_in(partition: Partition, job: Job, groups: frozenset[str] | None) -> bool:
    """Whether a partition is for the jobs of this owner and account.

    Parameters
    ----------
    groups
        Of the owner; None where they are not known.
    """
    allowed = partition.allowed_accounts
    if allowed is not None and job.account not in allowed and (job.account is None or not partition.accounts_are_trees):
        return False
    if job.account in partition.denied_accounts or job.qos in partition.denied_qos:
        return False
    if partition.allowed_qos is not None and job.qos is not None and job.qos not in partition.allowed_qos:
        return False
    if partition.allowed_groups is None or groups is None or job.uid == ROOT:
        return True
    return not partition.allowed_groups.isdisjoint(groups)


def _has(node: Node, request: Request) -> bool:
    """Whether a node has what is asked for on each, and room for one task."""
    memory_mb = node.memory_mb
    if memory_mb is not None and memory_mb < (request.memory_per_node_mb or 0):
        return False
    if any(count_of(wanted, node.gres) < wanted.count for wanted in request.gres_per_node):
        return False
    return _cpus(node, request) >= request.cpus_per_node and _tasks(node, request) > 0


def _cpus(node: Node, request: Request) -> int:
    """Return how many CPUs of a node a job can use: none without its memory."""
    cpus = node.cores // node.threads_per_core if request.one_thread_a_core else node.cores
    if request.memory_per_cpu_mb is None or node.memory_mb is None:
        return cpus
    return min(cpus, node.memory_mb // request.memory_per_cpu_mb)


def _tasks(node: Node, request: Request) -> int:
    """Return how many tasks of a job a node has room for."""
    bounds = [request.tasks if request.cpus_per_task == 0 else _cpus(node, request) // request.cpus_per_task]
    if request.tasks_per_node is not None:
        bounds.append(request.tasks_per_node)
    bounds += [count_of(wanted, node.gres) // wanted.count for wanted in request.gres_per_task if wanted.count > 0]
    return min(bounds)


def _amounts(request: Request) -> list[tuple[int, Callable[[Node], int]]]:
    """Return what the nodes of a job must have together: how much, and how much of it a node has."""
    return [
        (request.tasks, lambda node: _tasks(node, request)),
        (request.cpus, lambda node: _cpus(node, request)),
        *((wanted.count, lambda node, wanted=wanted: count_of(wanted, node.gres)) for wanted in request.gres_per_job),
    ]


def _has_features(node: Node, constraint: Sequence[frozenset[str]] | None, *, in_doubt: bool) -> bool:
    """Whether a node has all features of one of the sets of a constraint; of one that is not understood, nobody knows."""
    if constraint is None:
        return True
    return any(features <= set(node.features) for features in constraint) if constraint else in_doubt
