"""What is decided, and what of it still counts when time has passed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flexmpi.protocol.requests import Mode
from flexmpi.scheduler.deciding import SWITCHED_OFF, Question, Verdict, decide, still_right
from flexmpi.scheduler.elastic import Decision, View
from flexmpi.scheduler.power import Power, Watts
from flexmpi.scheduler.view import Bounds
from tests.scheduler.policies.test_policies import NODES, job, view, waiting
from tests.scheduler.policies.test_withdrawing import growing


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
