"""What the parts of a supervisor know of their job: what was asked for, what the application says of itself, an interface."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from flexmpi.configuration import Node, ScheduledChange
from flexmpi.runtime.grant import Grant
from flexmpi.runtime.listener import Address
from flexmpi.runtime.policies import JobPolicy
from flexmpi.runtime.reconfiguration import Reconfiguration
from flexmpi.runtime.report import IntervalReport
from flexmpi.runtime.roster import RankId, Roster
from flexmpi.slurm.own_job import Allocation


@dataclass
class Application:
    """What the ranks have told about the program: whether it can change, which loop it is in, whether it has ended.

    Attributes
    ----------
    maximum
        The largest number of iterations of the loop; a program that converges ends it earlier.
    """

    obstacle: str | None = None
    loop: int | None = None
    maximum: int | None = None
    digest: int | None = None
    objects: tuple[str, ...] = ()
    finished: bool = False


@dataclass(frozen=True)
class Limits:
    """Bounds of one job: nodes with ranks, and seconds to wait."""

    minimum_nodes: int = 1
    maximum_nodes: int = 1
    ready_timeout_s: float = 60.0
    stall_timeout_s: float = 30.0


@dataclass(frozen=True)
class Identity:
    """By what a resource manager knows a job; None where no manager runs it.

    Attributes
    ----------
    job_id
        Its number.
    array_job_id, array_task_id
        Of a task of a job array.
    name
        As it is listed.
    """

    job_id: int | None = None
    array_job_id: int | None = None
    array_task_id: int | None = None
    name: str | None = None

    @classmethod
    def read(cls, environment: Mapping[str, str], *, prefix: str) -> Identity:
        """Read the variables that a manager sets in its jobs, whose names begin with ``SLURM`` or ``FLEXMPI``."""

        def number(name: str) -> int | None:
            text = environment.get(f"{prefix}_{name}", "")
            return int(text) if text.isdecimal() else None

        return cls(
            job_id=number("JOB_ID"),
            array_job_id=number("ARRAY_JOB_ID"),
            array_task_id=number("ARRAY_TASK_ID"),
            name=environment.get(f"{prefix}_JOB_NAME"),
        )


@dataclass(frozen=True)
class JobOptions:
    """All that `flexmpi run` was told, checked.

    Attributes
    ----------
    command
        The script and its arguments.
    placement
        Ranks to start with on each node.
    interval
        The sampling interval as text, None to leave it to the program.
    token
        What text commands must begin with, if anything.
    report, report_in_seconds
        Where the monitoring service reports to, and in which unit.
    io_controlled
        A controller grants I/O phases.
    counters
        Hardware events that ranks count.
    allocation
        The Slurm job this runs in; None where every node is a virtual node on this machine.
    own_nodes
        The nodes that a manager of virtual nodes has given the job, which may use no other unless the agent gives it; None
        where every node may be used.
    identity
        By what a resource manager knows the job.
    agent
        The folder that tells of the agent; None where there is none.
    processes_per_node
        Ranks on each node that the agent adds.
    policy, policy_dry_run
        What the job does by itself (None: what the schedule says), and whether it only says what it would do.
    watts
        Declared power of a node, idle and for each busy core: by alias, or under the empty name for all others.
    warm
        Whether nodes keep a process that has imported what a rank needs, and forks ranks that are started later.
    grant_timeout_s, grant_retries
        How long Slurm may take to grant a node, and how often it is asked again.
    """

    command: tuple[str, ...]
    nodes: tuple[Node, ...]
    placement: Mapping[str, int]
    limits: Limits
    interval: str | None = None
    listen: Address | None = None
    token: str | None = None
    identifier: int = 0
    quiet: bool = False
    schedule: tuple[ScheduledChange, ...] = ()
    report: Address | None = None
    report_in_seconds: bool = False
    io_controlled: bool = False
    counters: tuple[str, ...] = ()
    allocation: Allocation | None = None
    policy: JobPolicy | None = None
    policy_dry_run: bool = False
    watts: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    grant_timeout_s: float = 60.0
    grant_retries: int = 0
    own_nodes: tuple[str, ...] | None = None
    identity: Identity = Identity()
    agent: Path | None = None
    processes_per_node: int = 1
    warm: bool = False

    @property
    def floor(self) -> str:
        """The node that the job has until it ends."""
        if self.allocation is not None:
            return self.allocation.batch_node
        return next(iter(self.own_nodes or self.placement))


class Job(Protocol):
    """What the supervisor offers its reconfigurer."""

    roster: Roster
    application: Application
    limits: Limits
    grant: Grant
    latest: IntervalReport | None
    nodes_on_demand: bool

    def notify(self) -> None:
        """Have all who wait look again."""

    def tell(self, ranks: Collection[RankId], kind: str, **fields: object) -> None:
        """Send a message to ranks."""

    async def start_process_set(self, node: str | None, size: int) -> list[RankId]:
        """Start ranks on a node, or for None on a new node of the provider's choice, and return them."""

    def give_up_nodes(self, nodes: Collection[str]) -> None:
        """Wait no longer for these nodes where they have not been granted yet."""

    async def stopped(self, ranks: Collection[RankId]) -> list[RankId]:
        """Return those of these ranks whose process a signal or a debugger has stopped."""

    def kill_process_set(self, number: int) -> None:
        """End a process set at once."""

    async def until(self, condition: Callable[[], bool], *, limit_s: float | None = None) -> bool:
        """Wait until something has happened; False if it has not within the limit."""

    def fail(self, why: str) -> None:
        """End the job with an error."""

    def reconfigured(self, reconfiguration: Reconfiguration) -> None:
        """Take note that a reconfiguration is over."""
