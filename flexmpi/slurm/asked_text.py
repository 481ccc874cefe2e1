"""What ``squeue --Format`` tells of what jobs ask for, where neither its JSON is read nor pyslurm tells it. Pure.

It is read beside ``--format``, which does not have it, by the number of the job.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from flexmpi.cluster.request import Request
from flexmpi.cluster.state import Job
from flexmpi.errors import ManagerError
from flexmpi.numerals import LONGEST, whole_number
from flexmpi.slurm.names import present
from flexmpi.slurm.request import job_request, memory_mb, minimum_nodes, trackable_resources

# Each with how many characters it may have: what is longer is cut, what is shorter filled up.
_NUMBER, _LIST = 12, 250
_FIELDS = {
    "JobID": 20,
    "NumTasks": _NUMBER,
    "NumCPUs": _NUMBER,
    "cpus-per-task": _NUMBER,
    "MinCpus": _NUMBER,
    "NTPerNode": _NUMBER,
    "NTPerCore": _NUMBER,
    "Threads": _NUMBER,
    "Sockets": _NUMBER,
    "MinMemory": _NUMBER,
    "tres-alloc": _LIST,
    "tres-per-node": _LIST,
    "tres-per-socket": _LIST,
    "tres-per-task": _LIST,
    "tres-per-job": _LIST,
}


@dataclass(frozen=True)
class Asked:
    """What a job asks for.

    Attributes
    ----------
    trackable
        In Slurm's notation: ``cpu=8,mem=2000M,node=1``; of a job that runs it is what it has.
    """

    trackable: str
    request: Request


def asked_format(mark: str) -> str:
    """Return what to give ``squeue --Format``; the mark stands behind each field, see `text_output`."""
    return ",".join(f"{name}:{width}{mark}" for name, width in _FIELDS.items())


def parse_asked(text: str, mark: str, *, source: str) -> dict[int, Asked]:
    """Read what jobs ask for, by their numbers.

    Raises
    ------
    ManagerError
        It is not in this form.
    """
    *pieces, rest = [piece.strip() for piece in text.split(mark)]
    if rest or len(pieces) % len(_FIELDS):
        raise ManagerError(f"{source} printed {text[:40]!r}…, expected {len(_FIELDS)} fields a record")
    records = (pieces[start : start + len(_FIELDS)] for start in range(0, len(pieces), len(_FIELDS)))
    asked = {}
    for record in records:
        fields = dict(zip(_FIELDS, record, strict=True))
        if (number := whole_number(fields["JobID"], longest=LONGEST)) is None:
            raise ManagerError(f"{source} printed {fields['JobID'][:40]!r}, expected the number of a job")
        asked[number] = _asked(fields)
    return asked


def with_asked(jobs: Iterable[Job], asked: Mapping[int, Asked]) -> tuple[Job, ...]:
    """Return jobs with what they ask for; of one that is not in it, it is not known, and the next look has it."""
    return tuple(_with(job, asked[job.job_id]) if job.job_id in asked else job for job in jobs)


def _with(job: Job, asked: Asked) -> Job:
    if not job.is_waiting:
        return replace(job, request=asked.request)
    least = minimum_nodes(asked.trackable, count=job.minimum_nodes, maximum=job.maximum_nodes)
    return replace(job, request=asked.request, minimum_nodes=least)


def _asked(fields: Mapping[str, str]) -> Asked:
    numbers = {name: whole_number(value) for name, value in fields.items()}
    trackable = trackable_resources(fields["tres-alloc"])
    memory, cpus = memory_mb(fields["MinMemory"]), numbers["NumCPUs"] or 1
    # It does not say which of the two it is; of all nodes or CPUs together there is so much.
    is_per_cpu = memory is not None and memory * cpus == trackable.get("mem") != memory * trackable.get("node", 1)
    request = job_request(
        tasks=numbers["NumTasks"],
        cpus=cpus,
        cpus_per_task=numbers["cpus-per-task"],
        cpus_per_node=numbers["MinCpus"],
        tasks_per_node=numbers["NTPerNode"],
        threads_per_core=numbers["Threads"],
        tasks_per_core=numbers["NTPerCore"],
        sockets_per_node=numbers["Sockets"],
        memory_per_node_mb=None if is_per_cpu else memory,
        memory_per_cpu_mb=memory if is_per_cpu else None,
        per_node=_list(fields["tres-per-node"]),
        per_socket=_list(fields["tres-per-socket"]),
        per_task=_list(fields["tres-per-task"]),
        per_job=_list(fields["tres-per-job"]),
    )
    return Asked(fields["tres-alloc"], request)


def _list(text: str) -> str:
    return present(text) or ""
