"""What ``squeue`` and ``sinfo`` print with ``--format``, for a Slurm whose commands do not print JSON. Pure.

Names and comments are their users' to choose and may hold anything, a line break too. So the caller puts a mark between the
fields that nobody could know beforehand.
"""

from __future__ import annotations

from flexmpi.cluster.hostlists import expand_hosts
from flexmpi.cluster.state import Job, JobState, Node
from flexmpi.errors import ManagerError
from flexmpi.numerals import LONGEST, whole_number
from flexmpi.slurm.names import job_state, node_states, present, reason_word
from flexmpi.slurm.request import feature_sets, generic_resources
from flexmpi.slurm.times import FORM, seconds_of

ENVIRONMENT = {"SLURM_TIME_FORMAT": "%s", "SLURM_BITSTR_LEN": "0"}
"""What Slurm's commands need in their environment: times in seconds of the epoch, no list of tasks cut off."""
_JOB_FIELDS = "%A %F %K %T %r %N %D %P %a %q %v %f %n %Q %V %S %e %l %U %u %j %k".split()
_NODE_FIELDS = "%N %T %P %c %m %Z %f %G %E".split()
_NO_TIMES = ("N/A", "NONE", "Unknown", "")


def job_format(mark: str) -> str:
    """Return what to give ``squeue --format``."""
    return _format(_JOB_FIELDS, mark)


def node_format(mark: str) -> str:
    """Return what to give ``sinfo --Node --format``."""
    return _format(_NODE_FIELDS, mark)


def parse_nodes(text: str, mark: str, *, source: str) -> tuple[Node, ...]:
    """Read the nodes, each of which is there once for every partition it is in.

    Raises
    ------
    ManagerError
        It is not in this form.
    """
    nodes: dict[str, Node] = {}
    for fields in _records(text, mark, len(_NODE_FIELDS), source=source):
        name, state, partition, cores, memory, threads, features, gres, reason = fields
        partitions = nodes[name].partitions if name in nodes else ()
        nodes[name] = Node(
            name=name,
            cores=_number(cores, source=source),
            states=node_states([state]),
            partitions=(*partitions, partition.removesuffix("*")),
            features=tuple((present(features) or "").split(",")) if present(features) else (),
            memory_mb=_number(memory.rstrip("+"), source=source),
            threads_per_core=_number(threads, source=source) or 1,
            gres=generic_resources(gres),
            reason=present(reason),
        )
    return tuple(nodes.values())


def parse_jobs(text: str, mark: str, *, source: str) -> tuple[Job, ...]:
    """Read the jobs; errors as for `parse_nodes`."""
    return tuple(_job(fields, source) for fields in _records(text, mark, len(_JOB_FIELDS), source=source))


def parse_duration(text: str) -> int | None:
    """Return the seconds of a time as `times.seconds_of` does; None for no limit, or one not set yet.

    Raises
    ------
    ManagerError
        It is neither.
    """
    if text in ("UNLIMITED", "NOT_SET", "Partition_Limit", "INVALID", *_NO_TIMES):
        return None
    if (seconds := seconds_of(text)) is None:
        raise ManagerError(f"Slurm says a time of {text!r}, expected {FORM}")
    return seconds


def _format(fields: list[str], mark: str) -> str:
    return mark + mark.join(fields) + mark


def _records(text: str, mark: str, count: int, *, source: str) -> list[list[str]]:
    pieces = text.split(mark)
    if len(pieces) % (count + 1) != 1 or any(piece.strip() for piece in pieces[:: count + 1]):
        raise ManagerError(f"{source} printed {text[:40]!r}…, expected {count} fields a record")
    return [pieces[start : start + count] for start in range(1, len(pieces), count + 1)]


def _job(fields: list[str], source: str) -> Job:
    number, array_id, task, state_name, reason, nodes, count, partition, *fields = fields
    account, qos, reservation, constraint, required, priority, *fields = fields
    submitted, started, ends, limit, uid, user, name, comment = fields
    state = job_state([state_name])
    limit_s = parse_duration(limit)
    # Every job has an array's number, its own; a task's is None or a number, or a range where several wait.
    is_task = present(task) is not None
    return Job(
        job_id=_number(number, source=source),
        name=name,
        uid=_number(uid, source=source),
        user=user,
        state=state,
        reason=reason_word(reason),
        nodes=expand_hosts(present(nodes) or ""),
        # Of one that waits it may be the most of a range: what it needs is in `asked_text`.
        minimum_nodes=1 if state is JobState.PENDING else _number(count, source=source),
        maximum_nodes=None if state is JobState.PENDING else _number(count, source=source),
        partitions=tuple(partition.split(",")),
        account=present(account),
        qos=present(qos),
        reservation=present(reservation),
        constraint=feature_sets(present(constraint)),
        required_nodes=expand_hosts(present(required) or ""),
        priority=_number(priority, source=source),
        submitted_at=_time(submitted, source=source),
        started_at=_time(started, source=source),
        ends_at=_time(ends, source=source) if limit_s is not None or state.is_over else None,
        time_limit_s=limit_s,
        comment=present(comment),
        array_job_id=_number(array_id, source=source) if is_task else None,
        array_task_id=whole_number(task) if is_task else None,
        array_tasks=task.partition("%")[0] if is_task and whole_number(task) is None else None,
    )


def _number(text: str, *, source: str) -> int:
    if (number := whole_number(text, longest=LONGEST)) is None:
        raise ManagerError(f"{source} printed {text[:40]!r}, expected a number")
    return number


def _time(text: str, *, source: str) -> int | None:
    return None if text in _NO_TIMES else _number(text, source=source)
