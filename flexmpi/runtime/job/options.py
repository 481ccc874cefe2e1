"""All that `flexmpi run` was told about a job, checked. Plain frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from flexmpi.cluster.platform import Node, ScheduledChange
from flexmpi.numerals import LONGEST, whole_number
from flexmpi.protocol.address import Address
from flexmpi.protocol.rank_start import MODULE
from flexmpi.runtime.job.policies import JobPolicy
from flexmpi.slurm.own_job import Allocation


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
            return whole_number(environment.get(f"{prefix}_{name}", ""), longest=LONGEST)

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
        The script, or ``-m`` and the module, and its arguments.
    placement
        Ranks to start with on each node.
    interval
        The sampling interval as text, None to leave it to the program.
    token
        What text commands must begin with, if anything.
    key
        The user's, by which text commands from other machines are signed; None where there is none.
    listen_open
        Text commands are taken from anybody.
    quiet, verbose
        Whether the application's own output alone is shown, or also what its successors print before they compute.
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
    change
        How ranks change: by handover to another world, or by joining worlds.
    blocks
        Where rows lie with handovers: in files of their node, or in the private memory of ranks.
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
    key: bytes | None = field(default=None, repr=False)
    listen_open: bool = False
    identifier: int = 0
    quiet: bool = False
    verbose: bool = False
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
    change: Literal["handover", "join"] = "join"
    blocks: Literal["node", "private"] = "node"
    warm: bool = False

    @property
    def floor(self) -> str:
        """The node that the job has until it ends."""
        if self.allocation is not None:
            return self.allocation.batch_node
        return next(iter(self.own_nodes or self.placement))

    @property
    def program(self) -> str:
        """What people call the program: its script's name without the folder, or its module's."""
        script, *rest = self.command
        return rest[0] if script == MODULE else Path(script).name
