"""Asks Slurm about the job that this process runs in, once, before anything runs; what it says is read in `slurm.own_job`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping

from flexmpi.errors import ConfigurationError
from flexmpi.numerals import whole_number
from flexmpi.slurm.commands import quoted, slurm_environment
from flexmpi.slurm.own_job import (
    CORES_FORMAT,
    PARENT_FORMAT,
    Allocation,
    parse_address,
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
    described = _ask("squeue", "--noheader", f"--jobs={job_id}", f"--format={PARENT_FORMAT}")
    detailed = _ask("scontrol", "show", "job", job_id, "--oneliner")
    parent = parse_parent(job_id, described, detailed)
    listed = _ask("sinfo", "--noheader", "--Node", f"--partition={parent.partition}", f"--format={CORES_FORMAT}")
    allocated = _ask("scontrol", "show", "hostnames", environment.get("SLURM_JOB_NODELIST", batch_node)).split()
    given = parse_counts(environment.get("SLURM_JOB_CPUS_PER_NODE", ""))
    address = parse_address(_ask("scontrol", "show", "node", batch_node, "--oneliner"))
    host = _ask("hostname").strip()
    return Allocation(
        parent=parent,
        batch_node=batch_node,
        nodes=[batch_node, *(name for name in allocated if name != batch_node)],
        cores=parse_cores(listed) | dict(zip(allocated, given, strict=False)),
        addresses=tuple(dict.fromkeys([*([address] if address else []), host])),
        tasks=whole_number(environment.get("SLURM_NTASKS", "")),
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
        why = quoted(error.stderr) or f"status {error.returncode}"
        hidden = f": {HIDDEN_FROM_JOBS}" if DENIED in why else ""
        raise ConfigurationError(f"{command[0]} failed: {why}{hidden}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigurationError(f"cannot ask Slurm: {error}") from None
