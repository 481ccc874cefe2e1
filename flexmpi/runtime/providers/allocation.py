"""Asks Slurm about the job that this process runs in, once, before anything runs; what it says is read in `slurm.own_job`."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from flexmpi.errors import ConfigurationError, ManagerError
from flexmpi.numerals import whole_number
from flexmpi.slurm import json_output
from flexmpi.slurm.commands import quoted, slurm_environment
from flexmpi.slurm.own_job import (
    ADDRESS_FORMAT,
    CORES_FORMAT,
    OUTPUT_FORMAT,
    SHARING_FORMAT,
    Allocation,
    ParentJob,
    is_exclusive,
    parent_format,
    parse_cores,
    parse_counts,
    parse_parent,
)
from flexmpi.slurm.site import DENIED

COMMAND_LIMIT_S = 20.0
HIDDEN_FROM_JOBS = (
    "Slurm's PrivateData hides nodes or partitions from this user, so that a job cannot know which nodes it may grow onto; "
    "an administrator must take both out of it"
)


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
    parent = _read_parent(job_id, environment)
    listed = _ask("sinfo", "--noheader", "--Node", f"--partition={parent.partition}", f"--format={CORES_FORMAT}")
    allocated = _ask("scontrol", "show", "hostnames", environment.get("SLURM_JOB_NODELIST", batch_node)).split()
    given = parse_counts(environment.get("SLURM_JOB_CPUS_PER_NODE", ""))
    address = _ask("sinfo", "--noheader", "--Node", f"--nodes={batch_node}", f"--format={ADDRESS_FORMAT}").split()
    host = _ask("hostname").strip()
    return Allocation(
        parent=parent,
        batch_node=batch_node,
        nodes=[batch_node, *(name for name in allocated if name != batch_node)],
        cores=parse_cores(listed) | dict(zip(allocated, given, strict=False)),
        addresses=tuple(dict.fromkeys([*address, host])),
        tasks=whole_number(environment.get("SLURM_NTASKS", "")),
    )


def _read_parent(job_id: str, environment: Mapping[str, str]) -> ParentJob:
    """Ask in JSON, which keeps users' words apart from fields: of one job where ``scontrol`` has it, else of all."""
    sharing = _ask("squeue", "--noheader", f"--jobs={job_id}", f"--format={SHARING_FORMAT}")
    exclusive = is_exclusive(job_id, sharing)
    for command in (("scontrol", "show", "job", job_id, "--json"), ("squeue", "--json")):
        with suppress(ConfigurationError, ManagerError):
            text = _ask(*command)
            return _in_a_folder(json_output.parse_parent(text, job_id, exclusive=exclusive, source=command[0]))
    # Slurm was built without JSON, or is older than it.
    array, task = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
    job = f"--jobs={f'{array}_{task}' if array and task else job_id}"
    mark = f"<{secrets.token_hex(8)}>"
    described = _ask("squeue", "--noheader", job, f"--format={parent_format(mark)}")
    output = _ask("squeue", "--noheader", job, f"--Format={OUTPUT_FORMAT}")
    # slurmd sets the one or the other; both are there where this job was submitted from within another.
    per_core = "SLURM_MEM_PER_CPU" in environment and "SLURM_MEM_PER_NODE" not in environment
    return _in_a_folder(
        parse_parent(job_id, described, mark, output=output, exclusive=exclusive, memory_is_per_core=per_core)
    )


def _in_a_folder(parent: ParentJob) -> ParentJob:
    """Have companions write in the working directory where the output's folder is not what it was taken for."""
    if parent.output_folder is None or parent.output_folder.is_dir():
        return parent
    return replace(parent, output_folder=Path.cwd())


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
        why = quoted(error.stderr) or f"status {error.returncode}"
        hidden = f": {HIDDEN_FROM_JOBS}" if DENIED in why else ""
        raise ConfigurationError(f"{command[0]} failed: {why}{hidden}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigurationError(f"cannot ask Slurm: {error}") from None
