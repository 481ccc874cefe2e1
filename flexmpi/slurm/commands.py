"""The Slurm command lines and environments that submit and cancel jobs, and what is printed then.

Strings in, strings out; the scheduler's managers and the runtime's Slurm provider both run what is built here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from flexmpi.cluster.submission import Submission
from flexmpi.errors import ManagerError

STANDARD_INPUT = "/dev/stdin"
SECONDS_PER_MINUTE = 60
LONGEST_QUOTE = 500

# What Slurm's own commands read from the environment: it would change their output, or the job's options. PMI_* and the
# like are of the MPI job that the caller may itself be part of.
_MEANT_FOR_ANOTHER = re.compile(
    r"(?:SLURM|SLURMD|SBATCH|SALLOC|SRUN|SQUEUE|SINFO|SCANCEL|SCONTROL|SACCT|SACCTMGR|PMI|PMI2|PMIX|HYDRA|HYDI)_"
)
_JOB_NUMBERS = (
    re.compile(r"Submitted batch job ([0-9]{1,10})(?: on cluster \S+)?|([0-9]{1,10});\S+"),
    re.compile(r"([0-9]{1,10});?"),
)
_WHICH_CLUSTER = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT")


def sbatch_command(submission: Submission) -> list[str]:
    """Return the ``sbatch`` that submits a job and prints ``number`` or ``number;cluster``, see `job_number`.

    Its standard input must be `sbatch_input`, its environment `sbatch_environment`.
    """
    options = ["--parsable", "--export=ALL", "--mail-type=NONE"]
    options += [f"--{option}={value}" for option, value in _values(submission).items()]
    if submission.exclusive:
        options.append("--exclusive")
    if submission.requeue is not None:
        options.append("--requeue" if submission.requeue else "--no-requeue")
    if not submission.is_text:
        return ["sbatch", *options, "--", submission.script, *submission.arguments]
    # By name it could not be a socket, which asyncio gives its children; but only so can a script get arguments.
    return ["sbatch", *options, *(["--", STANDARD_INPUT, *submission.arguments] if submission.arguments else [])]


def sbatch_input(submission: Submission) -> str:
    """Return what ``sbatch`` must read: the text of the script, or nothing where it has a path."""
    return submission.script if submission.is_text else ""


def sbatch_environment(submission: Submission, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of ``sbatch``, which is the job's too.

    What is inherited but not meant for the job still decides where ``sbatch`` is found and which cluster it speaks to.
    """
    clean = slurm_environment(inherited)
    if not submission.inherit_environment:
        clean = {name: clean[name] for name in ("PATH", "HOME", "USER", *_WHICH_CLUSTER) if name in clean}
    return clean | dict(submission.environment)


def scancel_command(job_id: int) -> list[str]:
    """Return the ``scancel`` that ends a job, or all tasks of a job array; see `refusal_to_cancel`."""
    # Without --verbose it says nothing of a job that is not there, and its status is 0 all the same.
    return ["scancel", "--verbose", str(job_id)]


def slurm_environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which Slurm's commands print as they are expected to and see nothing of a caller's job."""
    return {
        name: value for name, value in inherited.items() if name in _WHICH_CLUSTER or not _MEANT_FOR_ANOTHER.match(name)
    }


def job_number(output: str) -> int:
    """Read the job's number from what ``sbatch --parsable`` prints; a site's own ``sbatch`` may print other lines around it.

    A line that can only be of a job counts more than one that is a number alone, which may be a balance or a count.

    Raises
    ------
    ManagerError
        There is none, or it could be one of several: the job may be there all the same.
    """
    lines = [line.strip() for line in output.splitlines()]
    for form in _JOB_NUMBERS:
        numbers = {int(found[found.lastindex or 1]) for line in lines if (found := form.fullmatch(line))}
        if len(numbers) == 1:
            return numbers.pop()
        if numbers:
            break
    raise ManagerError(f"sbatch printed {quoted(output)!r}, expected the number of a job")


def refusal_to_cancel(errors: str) -> str | None:
    """Return why ``scancel --verbose`` did not cancel, from its standard error; None where the job has ended anyway."""
    refusals = [line for line in errors.splitlines() if "error:" in line]
    # "Job/step already completing or completed": the caller has what it wanted.
    refusals = [line for line in refusals if "already complet" not in line]
    return quoted("\n".join(refusals)) if refusals else None


def quoted(words: str) -> str:
    """Put what a Slurm command says on one line, without its name and ``error:`` before each."""
    lines = [re.sub(r"^\s*(?:\w+: )?(?:error|fatal): ", "", line).strip() for line in words.splitlines()]
    text = "; ".join(line for line in lines if line)
    return text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}…"


def time_limit_minutes(time_limit_s: float) -> int:
    """Return a time limit in Slurm's whole minutes, rounded up; at least 1, since Slurm reads 0 as no limit."""
    return max(1, math.ceil(time_limit_s / SECONDS_PER_MINUTE))


def _values(submission: Submission) -> dict[str, str]:
    """Return the options of ``sbatch`` that have a value."""
    nodes, limit_s = str(submission.nodes), submission.time_limit_s
    if submission.maximum_nodes is not None:
        nodes += f"-{submission.maximum_nodes}"
    limit = None if limit_s is None else "UNLIMITED" if math.isinf(limit_s) else str(time_limit_minutes(limit_s))
    values = {
        "nodes": nodes,
        "ntasks": None if submission.tasks is None else str(submission.tasks),
        "nodelist": submission.node,
        "partition": submission.partition,
        "account": submission.account,
        "qos": submission.qos,
        "reservation": submission.reservation,
        "constraint": submission.constraint,
        "mem": submission.memory,
        "mem-per-cpu": submission.memory_per_core,
        "gres": submission.gres,
        "time": limit,
        "signal": None if submission.warning_s is None else f"B:TERM@{submission.warning_s}",
        "job-name": submission.name,
        "comment": submission.comment,
        "output": submission.output,
        "chdir": submission.directory,
        "array": submission.array,
    }
    return {option: value for option, value in values.items() if value is not None}
