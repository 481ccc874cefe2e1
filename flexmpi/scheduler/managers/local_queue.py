"""The local manager's rules: which job starts next on which nodes, and what an array is. Pure.

First come, first served, whole nodes only: a job that cannot start yet holds up all behind it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from flexmpi.cluster.platform import Node
from flexmpi.cluster.submission import Submission
from flexmpi.errors import ManagerError

PARTITION = "local"
MAXIMUM_TASKS = 1000


@dataclass(frozen=True)
class Tasks:
    """The tasks of a job array.

    Attributes
    ----------
    numbers
        In the order in which they start.
    at_once
        How many may run at the same time.
    """

    numbers: tuple[int, ...]
    at_once: int


def parse_array(text: str) -> Tasks:
    """Read Slurm's notation for a job array: ``0-3``, ``1,5,7``, ``0-10:2``, ``1-9%2``.

    Raises
    ------
    ManagerError
        It is something else, or has more than 1000 tasks.
    """
    ranges, percent, limit = text.partition("%")
    numbers: dict[int, None] = {}
    for part in ranges.split(","):
        found = re.fullmatch(r"([0-9]{1,6})(?:-([0-9]{1,6})(?::([1-9][0-9]{0,5}))?)?", part.strip())
        if found is None:
            raise ManagerError(f"invalid job array specification: {text!r}, expected tasks such as 1-5%2")
        first, last, step = int(found[1]), int(found[2] or found[1]), int(found[3] or 1)
        numbers.update(dict.fromkeys(range(first, min(last, first + step * MAXIMUM_TASKS) + 1, step)))
    if percent and not re.fullmatch(r"[1-9][0-9]{0,5}", limit):
        raise ManagerError(f"invalid job array specification: {text!r}, expected a number above 0 behind '%'")
    if not 0 < len(numbers) <= MAXIMUM_TASKS:
        raise ManagerError(
            f"invalid job array specification: {text!r} has {len(numbers)} tasks, at most {MAXIMUM_TASKS}"
        )
    return Tasks(tuple(numbers), at_once=int(limit) if percent else len(numbers))


def require_possible(submission: Submission, nodes: Sequence[Node]) -> None:
    """Check that a job could run on these nodes if all of them were free.

    Raises
    ------
    ManagerError
        It could not, or asks for something that virtual nodes do not have.
    """
    if submission.partition not in (None, PARTITION):
        raise ManagerError(f"invalid partition specified: {submission.partition}, expected {PARTITION}")
    for what, value in (("reservation", submission.reservation), ("gres", submission.gres)):
        if value is not None:
            raise ManagerError(f"invalid {what} specified: {value}, virtual nodes have none")
    if submission.node is not None and submission.node not in {node.name for node in nodes}:
        raise ManagerError(f"invalid node name specified: {submission.node}")
    if submission.node is not None and submission.nodes > 1:
        raise ManagerError(f"requested node configuration is not available: {submission.nodes} nodes, all of one name")
    suitable = _suitable(submission, nodes)
    if submission.nodes > len(suitable):
        raise ManagerError(
            f"requested node configuration is not available: {submission.nodes} nodes, there are {len(suitable)}"
        )


def choose_nodes(submission: Submission, nodes: Sequence[Node], *, taken: Collection[str]) -> tuple[str, ...] | None:
    """Return the nodes on which a job can start now, the first that are free; None where it must wait."""
    free = [name for name in _suitable(submission, nodes) if name not in taken]
    if len(free) < submission.nodes:
        return None
    return tuple(free[: submission.maximum_nodes or submission.nodes])


def first_to_start(
    waiting: Sequence[tuple[int, Submission]],
    nodes: Sequence[Node],
    *,
    taken: Collection[str],
    held: Mapping[int, str] | None = None,
) -> tuple[int, tuple[str, ...]] | None:
    """Return the job that starts next, and its nodes; None where the first of those that wait must go on waiting.

    Parameters
    ----------
    waiting
        Their numbers and what they asked for, in the order in which they came.
    held
        Those that must not start whatever is free, and why; they hold up nobody.
    """
    for job_id, submission in waiting:
        if job_id in (held or {}):
            continue
        chosen = choose_nodes(submission, nodes, taken=taken)
        return None if chosen is None else (job_id, chosen)
    return None


def _suitable(submission: Submission, nodes: Sequence[Node]) -> list[str]:
    return [
        node.name
        for node in nodes
        if submission.node in (None, node.name) and submission.constraint in (None, node.alias)
    ]
