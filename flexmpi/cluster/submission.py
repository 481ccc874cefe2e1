"""A job to be submitted, whatever manages the cluster. Plain frozen data, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flexmpi.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A job to be submitted to a resource manager. What is None is left to the manager or to the script's own lines.

    Attributes
    ----------
    script
        The text of a batch script, which begins with ``#!``, or else the path of one.
    arguments
        What the script is called with.
    nodes, maximum_nodes
        How many nodes, at least and at most; exactly `nodes` where `maximum_nodes` is None.
    tasks
        How many tasks, for what the manager tells the job's launchers.
    node
        The node it must run on, one name.
    time_limit_s
        In seconds; ``math.inf`` asks for no limit. Never 0, which Slurm reads as no limit. Slurm counts in minutes: it is
        rounded up.
    memory, memory_per_core
        On each node, or on each core of it, in Slurm's notation: ``500M``.
    warning_s
        How long before its time limit the script gets SIGTERM; Slurm may send it up to a minute earlier.
    output
        Where its output goes; Slurm's patterns such as ``%j``, the job's number, work everywhere.
    directory
        Where it runs.
    exclusive
        Share no node with another job.
    array
        The tasks of a job array in Slurm's notation: ``1-5%2``.
    environment
        Variables of the job, on top of those of whoever submits it, or instead of them where `inherit_environment` is
        false. Secrets belong here: command lines can be read by others.

    Raises
    ------
    ConfigurationError
        A value has no meaning.
    """

    script: str
    arguments: Sequence[str] = ()
    name: str | None = None
    nodes: int = 1
    maximum_nodes: int | None = None
    tasks: int | None = None
    node: str | None = None
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    reservation: str | None = None
    constraint: str | None = None
    memory: str | None = None
    memory_per_core: str | None = None
    gres: str | None = None
    time_limit_s: float | None = None
    warning_s: int | None = None
    comment: str | None = None
    output: str | None = None
    directory: str | None = None
    exclusive: bool = False
    requeue: bool | None = None
    array: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    inherit_environment: bool = True

    def __post_init__(self) -> None:
        if not self.script or ("\n" in self.script and not self.is_text):
            raise ConfigurationError(f"a job's script must be a path or begin with '#!', got {self.script[:20]!r}")
        if self.nodes < 1:
            raise ConfigurationError(f"a job's nodes must be 1 or more, got {self.nodes}")
        if self.maximum_nodes is not None and self.maximum_nodes < self.nodes:
            raise ConfigurationError(f"a job's nodes must be {self.nodes} or more, got at most {self.maximum_nodes}")
        if self.time_limit_s is not None and not self.time_limit_s > 0:
            raise ConfigurationError(f"a job's time limit must be more than 0 s, got {self.time_limit_s:g}")
        if self.node is not None and not re.fullmatch(r"\w[\w.-]*", self.node):
            raise ConfigurationError(f"a job's node must be one name, got {self.node!r}")
        options = (value for value in vars(self).values() if isinstance(value, str))
        if any("\0" in value for value in (*options, *self.arguments)):
            raise ConfigurationError("a job's options and arguments must have no zero byte")

    @property
    def is_text(self) -> bool:
        """Whether the script is given as its text."""
        return self.script.startswith("#!")
