"""What ``squeue`` and ``sinfo`` print with ``--format``, for a Slurm whose commands do not print JSON. Pure.

Names and comments are their users' to choose and may hold anything, a line break too. So the caller puts a mark between the
fields that nobody could know beforehand.
"""

from __future__ import annotations

from flexmpi.cluster.hostlists import expand_hosts
from flexmpi.cluster.state import Job, JobState, Node
from flexmpi.errors import ManagerError
from flexmpi.numerals import LONGEST, whole_number
from flexmpi.slurm import times
from flexmpi.slurm.names import job_state, node_states, present, reason_word
from flexmpi.slurm.request import feature_sets, generic_resources

ENVIRONMENT = times.ENVIRONMENT | {"SLURM_BITSTR_LEN": "0"}
"""What Slurm's commands need in their environment: times in seconds of the epoch, no list of tasks cut off."""
_JOB_FIELDS = "%A %F %K %T %r %N %D %P %a %q %v %f %n %Q %V %S %e %l %U %u %j %k".split()
_NODE_FIELDS = "%N %T %P %c %m %Z %f %G %E".split()


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
            # sinfo says `planned` for idle and planned; what is planned and busy in part has a sign behind `mixed`.
            states=node_states(["idle", state] if state == "planned" else [state]),
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
    started_at, ends_at = times.moment(started), times.moment(ends)
    is_limited = times.is_limited(limit)
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
        submitted_at=times.moment(submitted),
        started_at=started_at,
        ends_at=ends_at if is_limited or state.is_over else None,
        time_limit_s=times.time_limit_s(limit, starts_at=started_at, ends_at=None if state.is_over else ends_at),
        comment=present(comment),
        array_job_id=_number(array_id, source=source) if is_task else None,
        array_task_id=whole_number(task) if is_task else None,
        array_tasks=task.partition("%")[0] if is_task and whole_number(task) is None else None,
    )


def _number(text: str, *, source: str) -> int:
    if (number := whole_number(text, longest=LONGEST)) is None:
        raise ManagerError(f"{source} printed {text[:40]!r}, expected a number")
    return number
