"""What a Slurm job must know of itself, and the command line of a companion job.

Reading is at the top, done once before anything runs; the rest is pure.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flexmpi.configuration import Node
from flexmpi.errors import ConfigurationError

COMMAND_LIMIT_S = 20.0
PARENT_FORMAT = "%A|%P|%a|%q|%v|%f|%m|%b|%L|%Z"
ABSENT = ("(null)", "N/A", "0")


@dataclass(frozen=True)
class ParentJob:
    """What companions inherit from the Slurm job that `flexmpi run` runs in; None where it has none.

    Attributes
    ----------
    time_left_s
        Until its time limit, in seconds; None without a limit.
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
    gres: str | None
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
        The cores of every node of its partition.
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
    own = re.search(r"\bNodeAddr=(\S+)", _ask("scontrol", "show", "node", batch_node, "--oneliner"))
    host = _ask("hostname").strip()
    tasks = environment.get("SLURM_NTASKS", "")
    return Allocation(
        parent=parent,
        batch_node=batch_node,
        nodes=[batch_node, *(name for name in allocated if name != batch_node)],
        cores=cores,
        addresses=tuple(dict.fromkeys([*([own[1]] if own else []), host])),
        tasks=int(tasks) if tasks.isdecimal() else None,
    )


def _ask(*command: str) -> str:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=COMMAND_LIMIT_S, check=True, errors="replace"
        ).stdout
    except subprocess.CalledProcessError as error:
        raise ConfigurationError(f"{command[0]} failed: {error.stderr.strip() or error.returncode}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigurationError(f"cannot ask Slurm: {error}") from None


def parse_parent(job_id: str, described: str, detailed: str) -> ParentJob:
    """Read what ``squeue --format`` (see `PARENT_FORMAT`) and ``scontrol show job`` say of a job.

    Raises
    ------
    ConfigurationError
        It is not the expected form.
    """
    # The last element of a job array has the array's own number, by which Slurm names all of its elements.
    own = [line for line in described.splitlines() if line.startswith(f"{job_id}|")]
    fields = own[0].split("|") if own else []
    if len(fields) != PARENT_FORMAT.count("|") + 1:
        raise ConfigurationError(f"squeue says {described.strip()!r} of job {job_id}, expected {PARENT_FORMAT}")
    _, partition, account, qos, reservation, constraint, memory, gres, time_left, directory = (
        "" if field in ABSENT else field for field in fields
    )
    record = next((line for line in detailed.splitlines() if line.startswith(f"JobId={job_id} ")), "")
    output = re.search(r"\bStdOut=(.+?)(?: \w+=|$)", record.strip())
    return ParentJob(
        job_id,
        partition=partition or None,
        account=account or None,
        qos=qos or None,
        reservation=reservation or None,
        constraint=constraint or None,
        memory=memory or None,
        gres=gres or None,
        time_left_s=parse_time_left(time_left),
        output_folder=Path(output[1]).parent if output else Path(directory),
    )


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


def companion_arguments(parent: ParentJob, node: str | None) -> list[str]:
    """Return the options of ``sbatch`` for one more node: what a site enforces is as in the parent job.

    The time limit is what the parent has left, in whole minutes and never 0, which Slurm reads as no limit.
    """
    limit = "UNLIMITED" if parent.time_left_s is None else str(max(1, parent.time_left_s // 60))
    inherited = {
        "partition": parent.partition,
        "account": parent.account,
        "qos": parent.qos,
        "reservation": parent.reservation,
        "constraint": parent.constraint,
        "mem": parent.memory,
        "gres": parent.gres,
        "nodelist": node,
    }
    return [
        "--parsable",
        "--nodes=1",
        "--ntasks=1",
        "--exclusive",
        "--no-requeue",
        "--mail-type=NONE",
        "--export=ALL",
        f"--time={limit}",
        f"--job-name=flexmpi-{parent.job_id}",
        f"--comment=a node of the elastic job {parent.job_id}",
        f"--output={parent.output_folder}/flexmpi-{parent.job_id}-%j.out",
        *(f"--{option}={value}" for option, value in inherited.items() if value is not None),
    ]


def companion_script(launcher: Sequence[str]) -> str:
    """Return the batch script of a companion: it becomes the node launcher, which so gets Slurm's signals itself."""
    return f"#!/bin/sh\nexec {shlex.join(launcher)}\n"


def slurm_environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which ``sbatch`` and ``srun`` see nothing of the job they are called from."""
    return {
        name: value
        for name, value in inherited.items()
        if not name.startswith(("SLURM_", "SBATCH_", "SLURMD_", "PMI")) or name == "SLURM_CONF"
    }
