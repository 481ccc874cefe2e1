"""What ``squeue``, ``sinfo`` and ``scontrol`` print with ``--json``, of every Slurm release that does. Pure.

22.05 has plain numbers and strings (``squeue`` and ``sinfo`` only); from 23.02 on numbers are objects with `set`, `infinite`
and `number`, states are lists, and nodes come from ``scontrol``. Everything that differs between releases is in here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from flexmpi.cluster.hostlists import expand_hosts
from flexmpi.cluster.request import Request
from flexmpi.cluster.state import Job, JobState, Node
from flexmpi.errors import ManagerError
from flexmpi.numerals import whole_number
from flexmpi.slurm.names import job_state, node_states, present, reason_word
from flexmpi.slurm.own_job import ParentJob, asked_gres, output_folder, symbols_of, told_or_none
from flexmpi.slurm.request import feature_sets, generic_resources, job_request, minimum_nodes, trackable_resources

SECONDS_PER_MINUTE = 60


def parse_nodes(text: str, *, source: str) -> tuple[Node, ...]:
    """Read the nodes.

    Parameters
    ----------
    source
        The command that printed it, for messages.

    Raises
    ------
    ManagerError
        It is not what this command prints, or it is Slurm's report of an error.
    """
    return tuple(_node(record) for record in _records(text, "nodes", source=source))


def parse_jobs(text: str, *, source: str) -> tuple[Job, ...]:
    """Read the jobs; parameters and errors as for `parse_nodes`."""
    return tuple(_job(record) for record in _records(text, "jobs", source=source))


class _Record:
    """One node or job, with the field and the command named where it is not as expected."""

    def __init__(self, fields: Mapping[str, Any], where: str) -> None:
        self._fields = fields
        self._where = where

    def text(self, name: str) -> str:
        """Return a string, empty where there is none."""
        value = self._fields.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self._error(name, "a string", value)
        return value

    def words(self, name: str) -> tuple[str, ...]:
        """Return a list of strings, or of the words of one string with commas."""
        value = self._fields.get(name)
        if isinstance(value, str):
            value = value.split(",")
        if not isinstance(value, list | None) or not all(isinstance(word, str) for word in value or ()):
            raise self._error(name, "a list of strings", value)
        return tuple(word for word in value or () if word)

    def number(self, name: str) -> int | None:
        """Return a whole number; None where it is not set, or infinite."""
        value = self._fields.get(name)
        if isinstance(value, dict):
            value = value.get("number") if value.get("set") and not value.get("infinite") else None
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self._error(name, "a number", value)
        return int(value)

    def required(self, name: str) -> int:
        """Return a whole number that must be there."""
        if (value := self.number(name)) is None:
            raise self._error(name, "a number", value)
        return value

    def name(self) -> str:
        """Return the field that names the record."""
        if not (value := self.text("name")):
            raise self._error("name", "a name", value)
        return value

    def _error(self, name: str, expected: str, value: object) -> ManagerError:
        return ManagerError(f"{self._where}: {name} must be {expected}, got {str(value)[:80]!r}")


def _records(text: str, kind: str, *, source: str) -> list[_Record]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ManagerError(f"{source} printed no JSON: {error}; it begins with {text[:40]!r}") from None
    if not isinstance(document, dict):
        raise ManagerError(f"{source} printed {str(document)[:40]!r}, expected an object")
    if errors := document.get("errors"):
        # 22.05 has status 0 and an empty list where slurmctld does not answer; this is all it says then.
        raise ManagerError(f"{source}: {_described(errors)}")
    records = document.get(kind)
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise ManagerError(f"{source} printed an object with {', '.join(document) or 'nothing'}, expected {kind}")
    return [_Record(record, f"{source}: record {number} of {kind}") for number, record in enumerate(records)]


def _described(errors: object) -> str:
    if not isinstance(errors, list):
        return str(errors)
    parts = [
        ": ".join(str(error[key]) for key in ("source", "description", "error") if error.get(key))
        for error in errors
        if isinstance(error, dict)
    ]
    return "; ".join(part for part in parts if part) or "an error without a description"


def _node(record: _Record) -> Node:
    return Node(
        name=record.name(),
        cores=record.required("cpus"),
        states=node_states((*record.words("state"), *record.words("state_flags"))),
        partitions=record.words("partitions"),
        features=record.words("active_features"),
        memory_mb=record.number("real_memory"),
        threads_per_core=record.number("threads") or 1,
        gres=generic_resources(record.text("gres")),
        reason=present(record.text("reason")),
    )


def _job(record: _Record) -> Job:
    state = job_state(record.words("job_state"))
    count, most = record.number("node_count") or 1, record.number("max_nodes") or None
    trackable = record.text("tres_req_str")
    if state is JobState.PENDING:
        least = minimum_nodes(trackable, count=count, maximum=most)
    else:
        least, most = trackable_resources(trackable).get("node") or count, most or count
    limit_min = record.number("time_limit") or None
    ends_at = record.number("end_time") or None
    if limit_min is None and not state.is_over:
        ends_at = None  # Slurm says one all the same: a year after the start, or 4294967295 minutes
    array_id = record.number("array_job_id") or None
    return Job(
        job_id=record.required("job_id"),
        name=record.text("name"),
        uid=record.required("user_id"),
        user=record.text("user_name"),
        state=state,
        reason=reason_word(record.text("state_reason")),
        nodes=expand_hosts(record.text("nodes")),
        minimum_nodes=least,
        maximum_nodes=most,
        partitions=record.words("partition"),
        account=present(record.text("account")),
        qos=present(record.text("qos")),
        reservation=present(record.text("resv_name")),
        constraint=feature_sets(present(record.text("features"))),
        request=_request(record),
        required_nodes=expand_hosts(record.text("required_nodes")),
        excluded_nodes=expand_hosts(record.text("excluded_nodes")),
        priority=record.number("priority"),
        submitted_at=record.number("submit_time") or None,
        started_at=record.number("start_time") or None,
        ends_at=ends_at,
        time_limit_s=None if limit_min is None else limit_min * SECONDS_PER_MINUTE,
        comment=present(record.text("comment")),
        array_job_id=array_id,
        array_task_id=record.number("array_task_id") if array_id else None,
        array_tasks=record.text("array_task_string").partition("%")[0] or None,
    )


def _request(record: _Record) -> Request:
    return job_request(
        tasks=record.number("tasks"),
        cpus=record.number("cpus"),
        cpus_per_task=record.number("cpus_per_task"),
        cpus_per_node=record.number("minimum_cpus_per_node"),
        tasks_per_node=record.number("tasks_per_node"),
        threads_per_core=record.number("threads_per_core"),
        tasks_per_core=record.number("tasks_per_core"),
        sockets_per_node=record.number("sockets_per_node"),
        memory_per_node_mb=record.number("memory_per_node"),
        memory_per_cpu_mb=record.number("memory_per_cpu"),
        per_node=record.text("tres_per_node"),
        per_socket=record.text("tres_per_socket"),
        per_task=record.text("tres_per_task"),
        per_job=record.text("tres_per_job"),
    )


def parse_parent(text: str, job_id: str, *, exclusive: bool, source: str) -> ParentJob:
    """Read one job as what its companions inherit; source and errors as for `parse_nodes`.

    Parameters
    ----------
    exclusive
        See `own_job.is_exclusive`.
    """
    own = [
        record for record in _records(text, "jobs", source=source) if record.required("job_id") == whole_number(job_id)
    ]
    if not own:
        raise ManagerError(f"{source} says nothing of job {job_id}")
    record = own[0]
    memory_mb, memory_per_core_mb = record.number("memory_per_node"), record.number("memory_per_cpu")
    array = record.number("array_job_id") or None
    task = record.number("array_task_id") if array else None
    symbols = symbols_of(
        job_id,
        array=job_id if array is None else str(array),
        task=None if task is None else str(task),
        name=record.text("name"),
        user=record.text("user_name"),
    )
    # Where Slurm says both, the second is what it has made of the first.
    expanded = record.text("stdout_expanded")
    output = expanded.replace("%", "%%") if expanded else record.text("standard_output")
    return ParentJob(
        job_id,
        partition=told_or_none(record.text("partition")),
        account=told_or_none(record.text("account")),
        qos=told_or_none(record.text("qos")),
        reservation=told_or_none(record.text("resv_name")),
        constraint=told_or_none(record.text("features")),
        memory=f"{memory_mb}M" if memory_mb else None,
        memory_per_core=f"{memory_per_core_mb}M" if memory_per_core_mb else None,
        gres=asked_gres(record.text("tres_per_node")),
        exclusive=exclusive,
        output_folder=output_folder(output, record.text("current_working_directory"), symbols),
    )
