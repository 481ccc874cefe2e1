"""What the agent decides in a tick, from plain data to plain data: who gets or leaves nodes, which growth is taken back. Pure.

It takes a while for many jobs, so it is done beside everything else, and its answer held against what is true by then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from flexmpi.models.estimate import Refusal
from flexmpi.protocol.requests import Mode
from flexmpi.scheduler.deciding.elastic import Decision, MoveCost, View
from flexmpi.scheduler.deciding.policies import NEEDS_ALL_JOBS, POLICIES
from flexmpi.scheduler.deciding.policies.capping import under_cap
from flexmpi.scheduler.deciding.policies.seating import could_start
from flexmpi.scheduler.deciding.policies.withdrawing import all_growth, for_the_cap, for_waiting_jobs
from flexmpi.scheduler.deciding.view import Bounds, give_back, within_bounds, without_growth

SWITCHED_OFF = "the agent is being switched off"
FORESEEN = Refusal("stands for any forecast")
REST, LONGEST_REST_S = 10.0, 30.0
"""A verdict that took long counts for so many times as long, but not for longer than that, while only measurements change."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is to be decided, and by what.

    Attributes
    ----------
    sees_all
        Whether no other user's jobs are hidden.
    """

    view: View
    mode: Mode
    policy: str
    bounds: Bounds
    sees_all: bool = True


@dataclass(frozen=True)
class Verdict:
    """What was decided.

    Attributes
    ----------
    decisions
        At most one a job.
    taken_back
        The jobs whose open order is taken back, and why.
    could_start
        The waiting jobs for which all that they need is idle and kept, by number, with the nodes.
    is_blind
        The policy decides nothing, for it does not see all jobs.
    """

    decisions: tuple[Decision, ...] = ()
    taken_back: Mapping[str, str] = field(default_factory=dict)
    could_start: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    is_blind: bool = False


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A question, what was decided, and how many seconds that took."""

    question: Question
    verdict: Verdict
    took_s: float


def decided_already(last: Answered | None, question: Question) -> Verdict | None:
    """Return what was decided last where that was a moment ago and would hardly be another now; None where it is to be decided.

    Large instances keep a solver busy for as long as it may be, and new samples alone seldom lead to other sizes. Whatever was
    decided and carried out has given jobs other nodes or orders.
    """
    if last is None:
        return None
    age_s = question.view.now - last.question.view.now - last.took_s
    if not 0 <= age_s < min(REST * last.took_s, LONGEST_REST_S):
        return None
    return last.verdict if _without_figures(question) == _without_figures(last.question) else None


def _without_figures(question: Question) -> Question:
    """Return a question without what changes with every sample; whether a job's speed can be foreseen stays."""
    jobs = [
        replace(
            job,
            forecast=job.forecast if isinstance(job.forecast, Refusal) else FORESEEN,
            move=MoveCost(),
            iterations_left=None,
        )
        for job in question.view.jobs
    ]
    return replace(question, view=replace(question.view, now=0.0, jobs=tuple(jobs)))


def still_right(verdict: Verdict, *, asked: Question, now: Question) -> Verdict:
    """Return what of a verdict may be carried out now: time has passed since it was asked for.

    Nothing where mode, policy or cap are others by now. Else what each job can still do, with nodes that are still free, within
    the limits and the cap; the next verdict has what is missing.
    """
    if (asked.mode, asked.policy, asked.view.power.cap_w) != (now.mode, now.policy, now.view.power.cap_w):
        return Verdict()
    view, bounds = now.view, now.bounds
    possible = [decision for decision in verdict.decisions if _is_possible(decision, view)]
    taken_back = {
        key: why
        for key, why in verdict.taken_back.items()
        if (job := view.job_of.get(key)) is not None and job.returning is not None
    }
    return replace(verdict, decisions=under_cap(within_bounds(possible, view, bounds), view), taken_back=taken_back)


def _is_possible(decision: Decision, view: View) -> bool:
    job = view.job_of.get(decision.key)
    if job is None or not (job.may_grow if decision.add else job.may_shrink):
        return False
    size = job.size + len(decision.add) - len(decision.leave)
    in_range = size <= job.maximum_nodes if decision.add else size >= job.minimum_nodes
    return in_range and set(decision.add) <= set(view.free) and set(decision.leave) <= set(job.removable)


def decide(question: Question) -> Verdict:
    """Decide by the policy, within limits and cap, as the mode lets it."""
    view, bounds = question.view, question.bounds
    if question.mode == "off":
        return Verdict(give_back(view), all_growth(view, why=SWITCHED_OFF))
    looks_at_queue = question.policy in NEEDS_ALL_JOBS
    if looks_at_queue and not question.sees_all:
        return Verdict(under_cap((), view), for_the_cap(view), is_blind=True)
    decisions = under_cap(within_bounds(POLICIES[question.policy](view), view, bounds), view)
    taken_back = {**(for_waiting_jobs(view) if looks_at_queue else {}), **for_the_cap(view)}
    return Verdict(
        without_growth(decisions) if question.mode == "drain" else decisions,
        taken_back,
        could_start(view) if looks_at_queue else {},
    )
