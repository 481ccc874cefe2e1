"""Nodes and jobs as pyslurm tells them, and a submission as it takes it. Pure; pyslurm itself is in pyslurm_child only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from flexmpi.cluster.hostlists import expand_hosts
from flexmpi.cluster.state import Job, JobState, Node
from flexmpi.cluster.submission import Submission
from flexmpi.errors import ManagerError
from flexmpi.slurm.commands import time_limit_minutes
from flexmpi.slurm.names import job_state, node_states, present, reason_word
from flexmpi.slurm.request import feature_sets, generic_resources

SECONDS_PER_MINUTE = 60
OWN_LINES = "#SBATCH"


def parse_snapshot(answer: Mapping[str, Any]) -> tuple[tuple[Node, ...], tuple[Job, ...]]:
    """Read the child's answer to ``snapshot``.

    Raises
    ------
    ManagerError
        A field is not there or not what it should be.
    """
    try:
        return tuple(map(_node, answer["nodes"])), tuple(map(_job, answer["jobs"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ManagerError(f"pyslurm told something else than expected: {error!r}") from None


def needs_sbatch(submission: Submission, script: str) -> bool:
    """Tell whether pyslurm would submit something else than ``sbatch``.

    It reads a script's own lines differently, if at all (``-p`` raises, a comment in quotes is cut); it always sets a number
    of tasks, so of a range of nodes Slurm gives no more than tasks; and some options are known to work only with ``sbatch``.
    """
    of_sbatch_only = (submission.memory_per_core, submission.warning_s)
    has_range = submission.maximum_nodes not in (None, submission.nodes)
    return OWN_LINES in script or has_range or any(option is not None for option in of_sbatch_only)


def submission_options(
    submission: Submission, *, environment: Mapping[str, str], host: str, directory: str
) -> dict[str, Any]:
    """Return what pyslurm's JobSubmitDescription is made of, the script excepted.

    Parameters
    ----------
    environment
        The job's.
    host, directory
        Where it is submitted, which ``sbatch`` would tell the job.
    """
    limit_s = submission.time_limit_s
    # A number of minutes as a string, which it documents, it does not take.
    limit = None if limit_s is None else "UNLIMITED" if math.isinf(limit_s) else time_limit_minutes(limit_s)
    name = submission.name or "sbatch"
    told = {"SLURM_SUBMIT_DIR": directory, "SLURM_SUBMIT_HOST": host, "SLURM_JOB_NAME": name}
    options = {
        "name": name,
        "nodes": str(submission.nodes),
        "ntasks": submission.tasks or submission.nodes,
        "required_nodes": submission.node,
        "partitions": submission.partition,
        "account": submission.account,
        "qos": submission.qos,
        "reservations": submission.reservation,
        "constraints": submission.constraint,
        "memory_per_node": submission.memory,
        "gres_per_node": submission.gres,
        "time_limit": limit,
        "comment": submission.comment,
        "standard_output": submission.output,
        "working_directory": submission.directory or directory,
        "resource_sharing": "exclusive" if submission.exclusive else None,
        "is_requeueable": submission.requeue,
        "array": submission.array,
        "script_args": list(submission.arguments) or None,
        "environment": dict(environment) | told,
    }
    return {name: value for name, value in options.items() if value is not None}


def _node(fields: Mapping[str, Any]) -> Node:
    gres = fields["configured_gres"] or {}
    return Node(
        name=fields["name"],
        cores=int(fields["total_cpus"]),
        states=node_states(fields["state"].split("+")),
        partitions=tuple(fields["partitions"] or ()),
        features=tuple(fields["active_features"] or ()),
        memory_mb=fields["real_memory"],
        threads_per_core=fields["threads_per_core"] or 1,
        gres=generic_resources(",".join(f"{name}:{count}" for name, count in gres.items())),
        reason=present(fields["reason"]),
    )


def _job(fields: Mapping[str, Any]) -> Job:
    state = job_state([fields["state"]])
    limit_min = fields["time_limit"] or None
    count = fields["num_nodes"] or 1
    return Job(
        job_id=int(fields["id"]),
        name=fields["name"] or "",
        uid=int(fields["user_id"]),
        user=fields["user_name"] or "",
        state=state,
        reason=reason_word(fields["state_reason"] or ""),
        nodes=expand_hosts(fields["allocated_nodes"] or ""),
        minimum_nodes=count,
        maximum_nodes=fields["max_nodes"] or (None if state is JobState.PENDING else count),
        partitions=tuple((fields["partition"] or "").split(",")),
        account=present(fields["account"]),
        qos=present(fields["qos"]),
        reservation=present(fields["reservation"]),
        constraint=feature_sets(",".join(fields["constraints"] or ()) or None),
        required_nodes=expand_hosts(fields["required_nodes"] or ""),
        excluded_nodes=expand_hosts(fields["excluded_nodes"] or ""),
        priority=fields["priority"],
        submitted_at=fields["submit_time"],
        started_at=fields["start_time"],
        ends_at=fields["end_time"] if limit_min is not None or state.is_over else None,
        time_limit_s=None if limit_min is None else limit_min * SECONDS_PER_MINUTE,
        comment=present(fields["comment"]),
        array_job_id=fields["array_id"],
        array_task_id=fields["array_task_id"] if fields["array_id"] else None,
        array_tasks=fields["array_tasks_waiting"],
    )
