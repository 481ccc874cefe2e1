"""What a Slurm job must know of itself, and the companion job that one more node is.

Reading is in `read_allocation`, done once before anything runs; the rest is pure.
"""

from __future__ import annotations

import math
import os
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flexmpi.configuration import Node
from flexmpi.errors import ConfigurationError
from flexmpi.protocol.slurm_commands import SECONDS_PER_MINUTE, Submission, quoted, slurm_environment

COMMAND_LIMIT_S = 20.0
SEPARATOR = "\x1f"
"""Between fields, for a constraint may hold any other character: ``intel|amd``."""
PARENT_FORMAT = SEPARATOR.join(("%A", "%P", "%a", "%q", "%v", "%f", "%b", "%L", "%Z"))
ABSENT = ("(null)", "N/A", "0")
WARNING_S = 60
WARNED_FROM_S = 5 * SECONDS_PER_MINUTE
"""A companion of less is not warned before its end: Slurm may warn two minutes before it."""


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


def read_allocation(environment: Mapping[str, str]) -> Allocation:
    """Ask Slurm about the job this process runs in.

    Raises
    ------
    ConfigurationError
        This is no Slurm job, or Slurm does not answer.
    """
    job_id, batch_node = environment.get("SLURM_JOB_ID"), environment.get("SLURMD_NODENAME")
    if job_id is None or batch_node is None:
        raise ConfigurationError(
            "--provider slurm works inside a Slurm job: submit a script with sbatch that runs flexmpi run"
        )
    described = _ask("squeue", "--noheader", f"--jobs={job_id}", f"--format={PARENT_FORMAT}")
    detailed = _ask("scontrol", "show", "job", job_id, "--oneliner")
    parent = parse_parent(job_id, described, detailed)
    listed = _ask("sinfo", "--noheader", "--Node", f"--partition={parent.partition}", "--format=%N|%c")
    cores = {name: int(count) for name, _, count in (line.partition("|") for line in listed.splitlines())}
    allocated = _ask("scontrol", "show", "hostnames", environment.get("SLURM_JOB_NODELIST", batch_node)).split()
    given = parse_counts(environment.get("SLURM_JOB_CPUS_PER_NODE", ""))
    own = re.search(r"\bNodeAddr=(\S+)", _ask("scontrol", "show", "node", batch_node, "--oneliner"))
    host = _ask("hostname").strip()
    tasks = environment.get("SLURM_NTASKS", "")
    return Allocation(
        parent=parent,
        batch_node=batch_node,
        nodes=[batch_node, *(name for name in allocated if name != batch_node)],
        cores=cores | dict(zip(allocated, given, strict=False)),
        addresses=tuple(dict.fromkeys([*([own[1]] if own else []), host])),
        tasks=int(tasks) if tasks.isdecimal() else None,
    )


def _ask(*command: str) -> str:
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=COMMAND_LIMIT_S,
            check=True,
            errors="replace",
            env=slurm_environment(os.environ),
        ).stdout
    except subprocess.CalledProcessError as error:
        raise ConfigurationError(f"{command[0]} failed: {quoted(error.stderr) or error.returncode}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigurationError(f"cannot ask Slurm: {error}") from None


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
        if not (found := re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)):
            raise ConfigurationError(f"Slurm says {text!r} cores of this job's nodes, expected a form like 4(x2),2")
        counts += [int(found[1])] * int(found[2] or 1)
    return counts


def parse_time_left(text: str) -> int | None:
    """Read Slurm's ``[days-][[hours:]minutes:]seconds``; None for no limit.

    Raises
    ------
    ConfigurationError
        It is neither.
    """
    if text in ("UNLIMITED", "NOT_SET"):
        return None
    if not (found := re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(?:(\d+):)?(\d+)", text)):
        raise ConfigurationError(f"Slurm says a time left of {text!r}, expected days-hours:minutes:seconds")
    days, first, second, last = (int(part or 0) for part in found.groups())
    hours, minutes = (first, second) if found[3] else (0, first)
    return ((days * 24 + hours) * 60 + minutes) * 60 + last


def companion(
    parent: ParentJob,
    node: str | None,
    *,
    time_left_s: int | None,
    launcher: Sequence[str],
    environment: Mapping[str, str],
) -> Submission:
    """Return the job that one more node is: what a site enforces is as in the parent job.

    Parameters
    ----------
    node
        The node that was named; None where Slurm is to choose.
    time_left_s
        What the parent has left, in seconds; None without a limit. In whole minutes it is the companion's limit, so that it
        needs its node no longer than the parent.
    launcher
        The command of a node launcher, which the batch script becomes, so that it gets Slurm's signals itself.
    environment
        What that is told.
    """
    limit_s = None if time_left_s is None else max(1, time_left_s // SECONDS_PER_MINUTE) * SECONDS_PER_MINUTE
    return Submission(
        script=f"#!/bin/sh\nexec {shlex.join(launcher)}\n",
        name=f"flexmpi-{parent.job_id}",
        tasks=1,
        node=node,
        partition=parent.partition,
        account=parent.account,
        qos=parent.qos,
        reservation=parent.reservation,
        constraint=parent.constraint,
        memory=parent.memory,
        memory_per_core=parent.memory_per_core,
        gres=parent.gres,
        time_limit_s=math.inf if limit_s is None else limit_s,
        warning_s=WARNING_S if limit_s is not None and limit_s >= WARNED_FROM_S else None,
        comment=f"a node of the elastic job {parent.job_id}",
        output=f"{parent.output_folder}/flexmpi-{parent.job_id}-%j.out",
        exclusive=True,
        requeue=False,
        environment=environment,
    )
