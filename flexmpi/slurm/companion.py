"""The companion of an elastic job: the job that one more node is, and the name by which it is known as one."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence

from flexmpi.cluster.submission import Submission
from flexmpi.numerals import LONGEST, whole_number
from flexmpi.slurm.commands import SECONDS_PER_MINUTE
from flexmpi.slurm.own_job import ParentJob

PREFIX = "flexmpi-"
FOR_REQUEST = ", request "
"""In a companion's comment, between the words for people and the number of the request that it is for."""
WARNING_S = 60
WARNED_FROM_S = 5 * SECONDS_PER_MINUTE
"""A companion of less is not warned before its end: Slurm may warn two minutes before it."""


def name_of_companion(parent: str) -> str:
    """Return what the companions of a job are called."""
    return f"{PREFIX}{parent}"


def parent_of(name: str) -> int | None:
    """Return the job whose companion is called so; None where no companion is."""
    number = name.removeprefix(PREFIX)
    return None if number == name else whole_number(number, longest=LONGEST)


def companion(
    parent: ParentJob,
    node: str | None,
    *,
    time_left_s: int | None,
    launcher: Sequence[str],
    environment: Mapping[str, str],
    request: int | None = None,
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
    request
        The job's request that it is submitted for, by which it is found where ``sbatch`` does not tell its number.
    """
    limit_s = None if time_left_s is None else max(1, time_left_s // SECONDS_PER_MINUTE) * SECONDS_PER_MINUTE
    return Submission(
        script=f"#!/bin/sh\nexec {shlex.join(launcher)}\n",
        name=name_of_companion(parent.job_id),
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
        comment=f"a node of the elastic job {parent.job_id}" + ("" if request is None else f"{FOR_REQUEST}{request}"),
        output=_output(parent),
        exclusive=True,
        requeue=False,
        environment=environment,
    )


def _output(parent: ParentJob) -> str:
    """Return where a companion's output goes: beside the parent's, in whose folder's name no letter stands for anything."""
    folder, name = parent.output_folder, f"{name_of_companion(parent.job_id)}-%j.out"
    if folder is None:
        return "/dev/null"
    # With a backslash in the path Slurm would put in no number either; in its working directory it looks for nothing.
    return name if "\\" in str(folder) else f"{str(folder).replace('%', '%%')}/{name}"
