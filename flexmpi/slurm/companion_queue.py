"""The companions of one job in Slurm's queue: how they are listed and cancelled, and which of them nobody wants. Pure.

Slurm uses numbers of jobs again, so a number alone says nothing. A companion is one by its name, its owner and its time of
submission; for which of the job's requests it was submitted is in its comment, which a site may have changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from flexmpi.cluster.state import JobState
from flexmpi.errors import ManagerError
from flexmpi.numerals import LONGEST, whole_number
from flexmpi.slurm import times
from flexmpi.slurm.companion import FOR_REQUEST, name_of_companion
from flexmpi.slurm.names import job_state, present

SEPARATOR = "\x1f"
"""Between fields, for the last is a comment, in which a site may have put anything."""
_FIELDS = ("%A", "%V", "%T", "%r", "%N", "%l", "%e", "%k")
_TIMES = ("%A", "%V", "%l", "%e")
REQUESTS = 10_000
"""So many requests of one run have numbers of their own."""
_WAITING = (JobState.PENDING,)
_GOING = (JobState.COMPLETING,)


@dataclass(frozen=True)
class Listed:
    """A companion as Slurm lists it; times are seconds of the epoch, by Slurm's clock.

    Attributes
    ----------
    word, reason
        Its state in Slurm's word, None when it is not listed any more; and why it waits or how it ended, if Slurm says so.
    node
        The node that it has.
    ends_at
        When its time limit ends it; None while it waits, and without a limit.
    request
        The job's request that it is for; None where its comment does not say.
    """

    job_id: int
    submitted_at: int
    word: str | None
    reason: str | None = None
    node: str | None = None
    ends_at: int | None = None
    request: int | None = None

    @property
    def identity(self) -> tuple[int, int]:
        """By which it is known for good."""
        return self.job_id, self.submitted_at

    @property
    def state(self) -> JobState | None:
        """Where it is in its life; None when it is not listed any more."""
        return None if self.word is None else job_state([self.word])

    @property
    def is_over(self) -> bool:
        """Whether it holds no node and never will."""
        return self.state is None or self.state.is_over

    @property
    def waits(self) -> bool:
        """Whether it has no node yet."""
        return self.state in _WAITING

    @property
    def can_be_cancelled(self) -> bool:
        """Whether it is neither over nor about to be."""
        return not self.is_over and self.state not in _GOING

    def gone(self) -> Listed:
        """Return it as it is when Slurm does not list it any more."""
        return replace(self, word=None, reason=None)

    def standing(self) -> str:
        """Say how it is, where its launcher has not reported."""
        job = f"Slurm job {self.job_id}"
        if self.word is None:
            return f"{job} is gone"
        if self.state is JobState.CANCELLED:
            return f"{job} is {self.word}"  # what it had waited for is no reason
        if self.waits or self.is_over or self.node is None:
            return f"{job} is {self.word}" + (f" ({self.reason})" if self.reason else "")
        return (
            f"{job} has {self.node} and is {self.word}, but no launcher has reported from there: a prolog may still run"
        )


@dataclass(frozen=True)
class Times:
    """When a job was submitted and when its time limit ends it, if it has one; seconds of the epoch."""

    submitted_at: int
    ends_at: int | None


def listing_command(parent: str, *, uid: int) -> list[str]:
    """Return the ``squeue`` that lists a job's companions, ended ones too; see `parse_listing` and `ENVIRONMENT`."""
    return [*_squeue(_FIELDS), "--all", "--states=all", *_whose(parent, uid=uid)]


def times_command(job_id: str) -> list[str]:
    """Return the ``squeue`` that tells a job's times; see `parse_times` and `ENVIRONMENT`."""
    return [*_squeue(_TIMES), f"--jobs={job_id}"]


def cancel_command(parent: str, job_ids: Iterable[int], *, uid: int) -> list[str]:
    """Return the ``scancel`` that ends these jobs as far as they are a job's companions, and no other."""
    return ["scancel", "--quiet", *_whose(parent, uid=uid), *map(str, job_ids)]


def end_command(job_id: int, *, ends_at: int) -> list[str]:
    """Return the ``scontrol`` by which a running job's limit ends at a time, which its owner may make earlier, not later."""
    return ["scontrol", "update", f"JobId={job_id}", f"EndTime=uts{ends_at}"]


def parse_listing(output: str, *, since: int) -> tuple[Listed, ...]:
    """Read what `listing_command` prints, but for those submitted before their parent: another had its number then.

    A line that is not in its form is part of a comment.
    """
    return tuple(
        each
        for line in output.splitlines()
        if (each := _listed(line.split(SEPARATOR))) is not None and each.submitted_at >= since
    )


def of_run(listed: Iterable[Listed], first: int) -> tuple[Listed, ...]:
    """Return the companions of one ``flexmpi run`` with their requests' numbers in it; a Slurm job may have several runs.

    Parameters
    ----------
    first
        The run's own, to which the number of each request has been added.
    """
    return tuple(
        each if each.request is None else replace(each, request=each.request - first)
        for each in listed
        if each.request is None or 0 <= each.request - first < REQUESTS
    )


def parse_times(job_id: str, output: str) -> Times | None:
    """Read what `times_command` prints of a job; None where it does not tell."""
    for line in output.splitlines():
        fields = line.split(SEPARATOR)
        if len(fields) == len(_TIMES) and fields[0] == job_id:
            submitted_at = whole_number(fields[1], longest=LONGEST)
            return None if submitted_at is None else Times(submitted_at, _ends_at(*fields[2:]))
    return None


def of_request(listed: Iterable[Listed], request: int, *, job_id: int | None, node: str | None = None) -> Listed | None:
    """Return the companion of a request; None where there is none.

    Parameters
    ----------
    job_id
        Its number, where ``sbatch`` has told it.
    node
        Where its launcher has reported from, if it has: a site's ``sbatch`` may have submitted several.
    """

    def is_own(each: Listed) -> bool:
        by_what_is_known = each.job_id == job_id or (node is not None and each.node == node)
        return each.request == request if each.request is not None else by_what_is_known

    own = filter(is_own, listed)
    return max(
        own,
        key=lambda each: (node is not None and each.node == node, each.job_id == job_id, each.identity),
        default=None,
    )


def strays(listed: Iterable[Listed], *, kept: Collection[tuple[int, int]], under_way: Collection[int]) -> list[Listed]:
    """Return the companions that nobody wants.

    Parameters
    ----------
    kept
        The identities of those that are wanted.
    under_way
        The requests whose submission is not over: theirs may have appeared already.
    """

    def may_be_under_way(each: Listed) -> bool:
        return bool(under_way) if each.request is None else each.request in under_way

    return [
        each for each in listed if each.can_be_cancelled and each.identity not in kept and not may_be_under_way(each)
    ]


def _listed(fields: Sequence[str]) -> Listed | None:
    if len(fields) != len(_FIELDS):
        return None
    job_id, submitted, word, reason, node, limit, ends, comment = fields
    number, submitted_at = whole_number(job_id, longest=LONGEST), whole_number(submitted, longest=LONGEST)
    if number is None or submitted_at is None:
        return None
    request = whole_number(comment.rpartition(FOR_REQUEST)[2])
    ends_at = _ends_at(limit, ends)
    return Listed(
        number, submitted_at, word, reason=present(reason), node=present(node), ends_at=ends_at, request=request
    )


def _squeue(fields: Sequence[str]) -> list[str]:
    return ["squeue", "--noheader", f"--format={SEPARATOR.join(fields)}"]


def _whose(parent: str, *, uid: int) -> list[str]:
    return [f"--name={name_of_companion(parent)}", f"--user={uid}"]


def _ends_at(limit: str, ends: str) -> int | None:
    """Return when a limit ends a job; without a limit Slurm may name a day a year away."""
    with suppress(ManagerError):  # a word that no release had
        return whole_number(ends, longest=LONGEST) if times.is_limited(limit) else None
    return None
