"""A cluster as a resource manager describes it: nodes and jobs, at one moment.

Plain frozen data. How it is read, and from where, is the managers'; what follows from it is the policies'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from flexmpi.cluster.request import Gres, Request


class NodeState(StrEnum):
    """What may be said of a node; several at once."""

    IDLE = "idle"
    MIXED = "mixed"
    ALLOCATED = "allocated"
    DOWN = "down"
    ERROR = "error"
    FUTURE = "future"
    UNKNOWN = "unknown"
    COMPLETING = "completing"
    DRAIN = "drain"
    FAIL = "fail"
    MAINTENANCE = "maintenance"
    RESERVED = "reserved"
    PLANNED = "planned"
    POWERED_DOWN = "powered_down"
    POWERING_DOWN = "powering_down"
    POWERING_UP = "powering_up"
    REBOOT = "reboot"
    NOT_RESPONDING = "not_responding"
    OTHER = "other"
    """Something that was not known when this was written."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """One node.

    Attributes
    ----------
    cores
        What the manager counts: under Slurm its CPUs, which may be hardware threads.
    partitions
        Those it is in.
    features
        Those it has now.
    threads_per_core
        How many of `cores` are hardware threads of one core.
    gres
        Its generic resources.
    reason
        Why it is not in service, in somebody's words.
    """

    name: str
    cores: int
    states: frozenset[NodeState]
    partitions: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    memory_mb: int | None = None
    threads_per_core: int = 1
    gres: tuple[Gres, ...] = ()
    reason: str | None = None

    @property
    def is_free(self) -> bool:
        """Whether it is idle as a whole and nothing else is said of it: no drain, reservation, plan or power saving."""
        return self.states == {NodeState.IDLE}

    @property
    def is_planned(self) -> bool:
        """Whether it is idle and kept by the manager for a job that waits, and nothing else is said of it."""
        return self.states == {NodeState.IDLE, NodeState.PLANNED}


class JobState(StrEnum):
    """Where a job is in its life; the manager's flags are folded into it."""

    PENDING = "pending"
    CONFIGURING = "configuring"
    RUNNING = "running"
    SUSPENDED = "suspended"
    COMPLETING = "completing"
    """Its processes are being ended; its nodes are not free yet."""
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"
    TIMEOUT = "timeout"
    NODE_FAIL = "node_fail"
    PREEMPTED = "preempted"
    OUT_OF_MEMORY = "out_of_memory"
    OTHER = "other"
    """Something that was not known when this was written; it is taken to hold its nodes."""

    @property
    def is_over(self) -> bool:
        """Whether a job in it holds no node and never will again."""
        return self in _OVER


_OVER = frozenset(
    {
        JobState.COMPLETED,
        JobState.CANCELLED,
        JobState.FAILED,
        JobState.TIMEOUT,
        JobState.NODE_FAIL,
        JobState.PREEMPTED,
        JobState.OUT_OF_MEMORY,
    }
)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One job, or the tasks of a job array that wait together. Times are seconds of the epoch.

    Attributes
    ----------
    reason
        Why it waits or how it ended, as one word of the manager: ``Resources``, ``Priority``, ``Dependency``, ….
    nodes
        Those it holds, or held.
    minimum_nodes, maximum_nodes
        How many it asked for; the most is None where it named none. Slurm's text does not tell the most of a job that waits.
    partitions
        Those it may run in; the one it runs in once it does.
    constraint
        Sets of features: a node must have all of one of them. None without a constraint; no set where it is not understood.
    request
        What it asked for beside that.
    required_nodes
        Those it asked for by name.
    started_at
        When it started, or is expected to; None where nothing is expected.
    ends_at
        When it ended or its time limit ends it; None without a limit.
    time_limit_s
        None where it has none; a job that waits may still get its partition's.
    array_job_id, array_task_id, array_tasks
        Of a job array: its number; which task this is; or the tasks that wait, as ``2-5,9``.
    """

    job_id: int
    name: str
    uid: int
    user: str
    state: JobState
    reason: str | None = None
    nodes: tuple[str, ...] = ()
    minimum_nodes: int = 1
    maximum_nodes: int | None = None
    partitions: tuple[str, ...] = ()
    account: str | None = None
    qos: str | None = None
    reservation: str | None = None
    constraint: tuple[frozenset[str], ...] | None = None
    request: Request = field(default_factory=Request)
    required_nodes: tuple[str, ...] = ()
    excluded_nodes: tuple[str, ...] = ()
    priority: int | None = None
    submitted_at: float | None = None
    started_at: float | None = None
    ends_at: float | None = None
    time_limit_s: float | None = None
    comment: str | None = None
    array_job_id: int | None = None
    array_task_id: int | None = None
    array_tasks: str | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether it has not started."""
        return self.state is JobState.PENDING

    @property
    def is_ended(self) -> bool:
        """Whether it is over and holds no node."""
        return self.state.is_over


def name_of(job: Job) -> str:
    """Return what people call a job: ``12``, or ``12_3`` for a task of a job array."""
    if job.array_job_id is not None and job.array_task_id is not None:
        return f"{job.array_job_id}_{job.array_task_id}"
    return str(job.job_id)


@dataclass(frozen=True, kw_only=True)
class Partition:
    """Nodes that jobs may ask for by one name, and who may.

    Attributes
    ----------
    accepts_jobs, starts_jobs
        Whether jobs may be submitted to it, and whether those that wait in it may start.
    minimum_nodes, maximum_nodes
        Of one job; None without a bound.
    allowed_groups, allowed_accounts, allowed_qos
        Whose jobs may run in it; None: everybody's.
    denied_accounts, denied_qos
        Whose may not.
    accounts_are_trees
        Whether accounts stand for those below them too, which are not known here.
    """

    name: str
    accepts_jobs: bool = True
    starts_jobs: bool = True
    minimum_nodes: int = 0
    maximum_nodes: int | None = None
    allowed_groups: frozenset[str] | None = None
    allowed_accounts: frozenset[str] | None = None
    denied_accounts: frozenset[str] = frozenset()
    accounts_are_trees: bool = False
    allowed_qos: frozenset[str] | None = None
    denied_qos: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A cluster at one moment.

    Nodes and jobs are read one beside the other, so a job that starts or ends meanwhile may be in one and not yet in the
    other; the next snapshot has it right.

    Attributes
    ----------
    taken_at
        Seconds of the epoch; nothing in it is older.
    jobs
        Those that wait, run or end, and those that ended, for as long as the manager remembers them.
    hidden
        What the manager hides from this user, of ``jobs``, ``nodes``, ``partitions``: there may be more than is here.
    partitions
        Those of which anything is known; any other lets every job in.
    groups
        The groups of users, by their number, where a partition asks for groups; those of others are not known.
    """

    taken_at: float
    nodes: tuple[Node, ...]
    jobs: tuple[Job, ...]
    hidden: frozenset[str] = frozenset()
    partitions: tuple[Partition, ...] = ()
    groups: Mapping[int, frozenset[str]] = field(default_factory=dict)

    @cached_property
    def node_of(self) -> Mapping[str, Node]:
        """The nodes by name."""
        return {node.name: node for node in self.nodes}

    @cached_property
    def job_of(self) -> Mapping[int, Job]:
        """The jobs by number."""
        return {job.job_id: job for job in self.jobs}

    def tasks_of(self, job_id: int) -> tuple[Job, ...]:
        """Return what is known of a job: itself, or every part of a job array."""
        return tuple(job for job in self.jobs if job_id in (job.job_id, job.array_job_id))
