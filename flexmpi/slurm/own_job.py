"""What Slurm says of a job to the job itself, and the allocation that it is.

Text in, values out; who asks Slurm is `runtime.providers.allocation`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flexmpi.cluster.platform import Node
from flexmpi.errors import ConfigurationError
from flexmpi.numerals import whole_number
from flexmpi.slurm.times import FORM, seconds_of

SEPARATOR = "\x1f"
"""Between fields, for a constraint may hold any other character: ``intel|amd``."""
PARENT_FORMAT = SEPARATOR.join(("%A", "%P", "%a", "%q", "%v", "%f", "%b", "%L", "%Z"))
CORES_FORMAT = "%N|%c"
"""Of ``sinfo --Node``."""
ABSENT = ("(null)", "N/A", "0")


@dataclass(frozen=True)
class ParentJob:
    """What companions inherit from the Slurm job that `flexmpi run` runs in; None where it has none.

    Attributes
    ----------
    memory, memory_per_core
        What it asked for on each node, or on each core.
    exclusive
        Whether it shares no node, or does not say.
    time_left_s
        Until its time limit, in seconds, when this was read; None without a limit.
    output_folder
        Where its output goes.
    """

    job_id: str
    partition: str | None
    account: str | None
    qos: str | None
    reservation: str | None
    constraint: str | None
    memory: str | None
    memory_per_core: str | None
    gres: str | None
    exclusive: bool
    time_left_s: int | None
    output_folder: Path


@dataclass(frozen=True)
class Allocation:
    """The Slurm job that `flexmpi run` runs in.

    Attributes
    ----------
    nodes
        Its nodes, the batch node first.
    cores
        Of every node of its partition; of its own nodes, those that it was given.
    addresses
        How other nodes may reach this one, the best first.
    tasks
        The tasks it asked for, if it said so.
    """

    parent: ParentJob
    batch_node: str
    nodes: list[str]
    cores: Mapping[str, int]
    addresses: tuple[str, ...]
    tasks: int | None

    def platform(self) -> tuple[Node, ...]:
        """Return the nodes the application may have: its own first, then the others of the partition."""
        others = [name for name in self.cores if name not in self.nodes]
        return tuple(Node(name, self.cores[name], alias=name) for name in (*self.nodes, *others))


def parse_parent(job_id: str, described: str, detailed: str) -> ParentJob:
    """Read what ``squeue --format`` (see `PARENT_FORMAT`) and ``scontrol show job --oneliner`` say of a job.

    Raises
    ------
    ConfigurationError
        It is not the expected form.
    """
    fields = own_fields(job_id, described)
    partition, account, qos, reservation, constraint, gres, time_left, directory = (
        "" if field in ABSENT else field for name, field in fields.items() if name != "%A"
    )
    record = next((line for line in detailed.splitlines() if line.startswith(f"JobId={job_id} ")), "").strip()
    output = re.search(r"\bStdOut=(.+?)(?: \w+=|$)", record)
    memory = dict(re.findall(r"\bMinMemory(Node|CPU)=([1-9]\S*)", record))
    return ParentJob(
        job_id,
        partition=partition or None,
        account=account or None,
        qos=qos or None,
        reservation=reservation or None,
        constraint=constraint or None,
        memory=memory.get("Node"),
        memory_per_core=memory.get("CPU"),
        # Told as gres:gpu:2, from Slurm 23.11 on as gres/gpu:2, and asked for as gpu:2.
        gres=re.sub(r"\bgres[:/]", "", gres) or None,
        exclusive=re.search(r"\bOverSubscribe=(OK|YES)\b", record) is None,
        time_left_s=parse_time_left(time_left),
        output_folder=Path(output[1]).parent if output else Path(directory),
    )


def own_fields(job_id: str, described: str) -> dict[str, str]:
    """Return a job's fields, by their letters, from what ``squeue --format`` (see `PARENT_FORMAT`) says of it.

    The last element of a job array has the array's own number, by which Slurm names all of its elements.

    Raises
    ------
    ConfigurationError
        It is not the expected form.
    """
    names = PARENT_FORMAT.split(SEPARATOR)
    own = [line for line in described.splitlines() if line.startswith(f"{job_id}{SEPARATOR}")]
    fields = own[0].split(SEPARATOR) if own else []
    if len(fields) != len(names):
        raise ConfigurationError(f"squeue says {described.strip()!r} of job {job_id}, expected {'|'.join(names)}")
    return dict(zip(names, fields, strict=True))


def parse_counts(text: str) -> list[int]:
    """Read what Slurm counts of each node of a job: 4, 4 and 2 of ``4(x2),2``.

    Raises
    ------
    ConfigurationError
        It is not the expected form.
    """
    counts = []
    for part in filter(None, text.split(",")):
        if not (found := re.fullmatch(r"([0-9]{1,9})(?:\(x([0-9]{1,6})\))?", part)):
            raise ConfigurationError(f"Slurm says {text!r} cores of this job's nodes, expected a form like 4(x2),2")
        counts += [int(found[1])] * int(found[2] or 1)
    return counts


def parse_cores(listed: str) -> dict[str, int]:
    """Read the cores of each node from what ``sinfo`` (see `CORES_FORMAT`) says of a partition.

    Raises
    ------
    ConfigurationError
        It is not the expected form.
    """
    cores = {}
    for line in listed.splitlines():
        name, _, count = line.partition("|")
        if (number := whole_number(count)) is None:
            raise ConfigurationError(f"sinfo says {line!r} of a node, expected its name and cores as {CORES_FORMAT}")
        cores[name] = number
    return cores


def parse_address(described: str) -> str | None:
    """Read where a node is reached from what ``scontrol show node --oneliner`` says of it; None where it does not say."""
    found = re.search(r"\bNodeAddr=(\S+)", described)
    return found[1] if found else None


def parse_time_left(text: str) -> int | None:
    """Read the seconds of a time as `times.seconds_of` does; None for no limit.

    Raises
    ------
    ConfigurationError
        It is neither.
    """
    if text in ("UNLIMITED", "NOT_SET"):
        return None
    if (seconds := seconds_of(text)) is None:
        raise ConfigurationError(f"Slurm says a time left of {text!r}, expected {FORM}")
    return seconds
