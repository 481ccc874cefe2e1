"""What the agent decides in a tick, from plain data to plain data: who gets or leaves nodes, which growth is taken back. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from flexmpi.protocol.requests import Mode
from flexmpi.scheduler.elastic import Decision, View
from flexmpi.scheduler.policies import NEEDS_ALL_JOBS, POLICIES
from flexmpi.scheduler.policies.capping import under_cap
from flexmpi.scheduler.policies.withdrawing import all_growth, for_the_cap, for_waiting_jobs
from flexmpi.scheduler.view import Bounds, give_back, within_bounds, without_growth

SWITCHED_OFF = "the agent is being switched off"


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
    is_blind
        The policy decides nothing, for it does not see all jobs.
    """

    decisions: tuple[Decision, ...] = ()
    taken_back: Mapping[str, str] = field(default_factory=dict)
    is_blind: bool = False


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
    return Verdict(without_growth(decisions) if question.mode == "drain" else decisions, taken_back)
