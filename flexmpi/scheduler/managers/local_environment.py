"""What a job of the local manager is told of itself, and what its output is called. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from flexmpi.cluster.platform import Node
from flexmpi.cluster.state import Job
from flexmpi.cluster.submission import Submission
from flexmpi.configuration import platform_text
from flexmpi.scheduler.managers.local_queue import PARTITION

# What Slurm fills in for the number of a task where there is none.
_NO_TASK = 4294967294


def job_environment(job: Job, nodes: Sequence[Node], *, directory: str) -> dict[str, str]:
    """Return the variables that tell a job of itself, much like those of Slurm.

    Parameters
    ----------
    nodes
        All virtual nodes.
    directory
        Where it was submitted.
    """
    cores = {node.name: node.cores for node in nodes}
    told = {
        "FLEXMPI_JOB_ID": job.job_id,
        "FLEXMPI_JOB_NAME": job.name,
        "FLEXMPI_JOB_NODES": ",".join(job.nodes),
        "FLEXMPI_JOB_CORES": ",".join(str(cores[name]) for name in job.nodes),
        "FLEXMPI_JOB_PARTITION": PARTITION,
        "FLEXMPI_JOB_PLATFORM": platform_text(nodes),
        "FLEXMPI_SUBMIT_DIR": directory,
        "FLEXMPI_ARRAY_JOB_ID": job.array_job_id,
        "FLEXMPI_ARRAY_TASK_ID": job.array_task_id,
    }
    return {name: str(value) for name, value in told.items() if value is not None}


def output_name(submission: Submission, job: Job) -> str:
    """Return the path of a job's output, with Slurm's patterns filled in; see "filename pattern" in sbatch(1)."""
    filled = {
        "%": "%",
        "A": job.array_job_id or job.job_id,
        "a": _NO_TASK if job.array_task_id is None else job.array_task_id,
        "j": job.job_id,
        "N": job.nodes[0],
        "u": job.user,
        "x": job.name,
    }
    pattern = submission.output or ("flexmpi-%j.out" if job.array_job_id is None else "flexmpi-%A_%a.out")
    return re.sub(r"%(.)", lambda found: str(filled.get(found[1], found[0])), pattern)
