"""What is decided, and what of it still counts when time has passed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flexmpi.protocol.requests import Mode
from flexmpi.scheduler.deciding.deciding import (
    LONGEST_REST_S,
    REST,
    SWITCHED_OFF,
    Answered,
    Question,
    Verdict,
    decide,
    decided_already,
    still_right,
)
from flexmpi.scheduler.deciding.elastic import Decision, View
from flexmpi.scheduler.deciding.power import Power, Watts
from flexmpi.scheduler.deciding.view import Bounds
from tests.scheduler.deciding.policies.forecasts import forecast_of
from tests.scheduler.deciding.policies.test_policies import NODES, job, view, waiting
from tests.scheduler.deciding.policies.test_withdrawing import growing


def question(seen: View, *, mode: Mode = "on", policy: str = "fill", **fields: object) -> Question:
    return Question(view=seen, mode=mode, policy=policy, **{"bounds": Bounds(), **fields})


GROWS = view(job("a", NODES[:1]), job("b", NODES[1:2], low=1), free=NODES[2:6])
SHRINKS = view(job("a", NODES[:4]), waiting=(waiting(2),))


def test_a_verdict_stands_where_nothing_has_changed() -> None:
    for seen in (GROWS, SHRINKS):
        asked = question(seen)
        verdict = decide(asked)
        assert verdict.decisions
        assert still_right(verdict, asked=asked, now=asked) == verdict


A, B = GROWS.jobs
LATER = {
    "it has ended": replace(GROWS, jobs=(B,)),
    "the nodes are another's": replace(GROWS, free=NODES[6:]),
    "it has an order": replace(GROWS, jobs=(replace(A, may_grow=False), B)),
    "it has grown": replace(GROWS, jobs=(replace(A, held=(NODES[0], *NODES[6:8]), maximum_nodes=4), B)),
}


@pytest.mark.parametrize("later", LATER.values(), ids=LATER)
def test_growth_that_is_not_possible_any_more_is_left_out(later: View) -> None:
    asked = question(GROWS)
    verdict = decide(asked)
    (mine,) = [decision for decision in verdict.decisions if decision.key == "a"]
    assert mine not in still_right(verdict, asked=asked, now=question(later)).decisions


def test_a_shrink_that_is_not_possible_any_more_is_left_out() -> None:
    asked = question(SHRINKS)
    verdict = decide(asked)
    for later in (
        view(job("a", NODES[:2])),
        view(job("a", NODES[:4], may_shrink=False)),
        view(job("a", NODES[:4], low=4)),
    ):
        assert still_right(verdict, asked=asked, now=question(later)).decisions == ()


def test_nothing_counts_when_mode_policy_or_cap_have_changed_meanwhile() -> None:
    asked = question(GROWS)
    verdict = decide(asked)
    capped = replace(GROWS, power=Power(dict.fromkeys(NODES, Watts(0.0, 1.0)), 100.0))
    for now in (replace(asked, mode="off"), replace(asked, policy="triggered"), question(capped)):
        assert still_right(verdict, asked=asked, now=now) == Verdict()


def test_limits_count_with_what_has_been_given_out_meanwhile() -> None:
    bounds = Bounds(accounts={"physics": 2})
    jobs = (
        job("a", NODES[:1], account="physics", extra_allowed=2),
        job("b", NODES[1:2], account="physics", extra_allowed=2),
    )
    asked = question(replace(GROWS, jobs=jobs), bounds=bounds)
    verdict = decide(asked)
    assert sum(len(decision.add) for decision in verdict.decisions) == 2
    later = replace(GROWS, jobs=tuple(replace(each, extra_allowed=0) for each in jobs))
    assert still_right(verdict, asked=asked, now=question(later, bounds=bounds)).decisions == ()


def test_growth_is_taken_back_only_while_it_is_still_open() -> None:
    grows = growing("a", NODES[:1], NODES[1:3])
    asked = question(view(grows), mode="off")
    verdict = decide(asked)
    assert verdict.taken_back == {"a": SWITCHED_OFF}
    assert still_right(verdict, asked=asked, now=asked).taken_back == verdict.taken_back
    over = replace(asked, view=view(job("a", NODES[:3])))
    assert still_right(verdict, asked=asked, now=over).taken_back == {}


def test_a_policy_that_looks_at_the_queue_decides_nothing_where_jobs_are_hidden() -> None:
    assert decide(question(GROWS, sees_all=False)) == Verdict(is_blind=True)
    assert not decide(question(GROWS, policy="triggered", sees_all=False)).is_blind


def test_drain_gives_nothing_out_and_off_takes_everything_extra() -> None:
    assert decide(question(GROWS, mode="drain")).decisions == ()
    assert decide(question(view(job("a", NODES[:3])), mode="off")).decisions == (
        Decision(key="a", leave=NODES[2:0:-1]),
    )


def measured(seen: View, iteration_s: float, *, now: float) -> View:
    """Return a view with other figures of the jobs, some time later."""
    jobs = [replace(each, forecast=forecast_of(parallel=iteration_s), iterations_left=5) for each in seen.jobs]
    return replace(seen, now=now, jobs=tuple(jobs))


def test_what_took_long_is_not_decided_again_for_new_samples_alone_before_some_time_has_passed() -> None:
    took_s = 0.5
    asked = question(measured(GROWS, 1.0, now=100.0))
    last = Answered(question=asked, verdict=decide(asked), took_s=took_s)
    end = 100.0 + took_s * (1 + REST)
    for iteration_s, now, known in (
        (1.0, 101.0, True),
        (1.1, 101.0, True),
        (1.1, end + 0.1, False),
        (1.0, 99.0, False),
    ):
        later = question(measured(GROWS, iteration_s, now=now))
        assert decided_already(last, later) == (last.verdict if known else None)
    assert decided_already(None, asked) is None
    slow = replace(last, took_s=100.0)
    assert decided_already(slow, question(measured(GROWS, 1.0, now=200.1 + LONGEST_REST_S))) is None
    quick = replace(last, took_s=0.001)
    assert decided_already(quick, question(measured(GROWS, 1.0, now=101.0))) is None


CHANGED = {
    "a node is free": view(*GROWS.jobs, free=NODES[2:7]),
    "a job has an order": view(replace(A, joining=NODES[6:7], may_grow=False), B, free=NODES[2:6]),
    "a job may grow": view(A, replace(B, may_grow=False), free=NODES[2:6]),
    "a job has ended": view(A, free=NODES[2:6]),
    "somebody waits": view(*GROWS.jobs, free=NODES[2:6], waiting=(waiting(2),)),
    "the cap is another": replace(GROWS, power=Power(dict.fromkeys(NODES, Watts(0.0, 1.0)), 100.0)),
}


@pytest.mark.parametrize("later", CHANGED.values(), ids=CHANGED)
def test_whatever_else_has_changed_is_decided_at_once(later: View) -> None:
    asked = question(measured(GROWS, 1.0, now=100.0))
    last = Answered(question=asked, verdict=decide(asked), took_s=1.0)
    assert decided_already(last, question(measured(later, 1.0, now=101.5))) is None
    for other in (replace(asked, mode="drain"), replace(asked, policy="fair")):
        assert decided_already(last, replace(other, view=replace(other.view, now=101.5))) is None


def test_a_job_whose_speed_can_be_foreseen_now_is_decided_on_at_once() -> None:
    asked = question(GROWS)
    last = Answered(question=asked, verdict=decide(asked), took_s=1.0)
    assert decided_already(last, question(replace(GROWS, now=1.5))) == last.verdict
    assert decided_already(last, question(measured(GROWS, 1.0, now=1.5))) is None
