"""Growth that is taken back, so that it does not stand in the way of a shrink that is needed."""

from __future__ import annotations

from dataclasses import replace

from flexmpi.scheduler.deciding.elastic import ElasticJob, View
from flexmpi.scheduler.deciding.policies.withdrawing import CAPPED, all_growth, for_the_cap, for_waiting_jobs
from flexmpi.scheduler.deciding.power import Power, Watts
from tests.scheduler.deciding.policies.test_policies import NODES, job, view, waiting

STARTS = "job 100 can start then"


def growing(key: str, held: tuple[str, ...], joining: tuple[str, ...], **fields: object) -> ElasticJob:
    """Return a job with an open order that gives it nodes."""
    return job(
        key, held, **{"joining": joining, "returning": joining, "may_grow": False, "may_shrink": False, **fields}
    )


def test_growth_is_taken_back_for_a_job_that_waits_for_these_nodes() -> None:
    seen = view(growing("a", NODES[:1], NODES[1:4]), free=NODES[4:5], waiting=(waiting(3),))
    assert for_waiting_jobs(seen) == {"a": STARTS}


def test_growth_is_taken_back_where_the_job_is_needed_to_shrink() -> None:
    others = job("b", NODES[6:8], low=2)
    seen = view(growing("a", NODES[:4], NODES[4:5], returning=()), others, waiting=(waiting(2),))
    assert for_waiting_jobs(seen) == {"a": STARTS}


def test_growth_goes_on_where_the_waiting_job_starts_all_the_same_or_not_at_all() -> None:
    grows = growing("a", NODES[:1], NODES[1:3])
    assert for_waiting_jobs(view(grows, free=NODES[3:6], waiting=(waiting(3),))) == {}
    assert for_waiting_jobs(view(grows, waiting=(waiting(8),))) == {}
    assert for_waiting_jobs(view(grows, waiting=(waiting(2, is_settled=False),))) == {}
    assert for_waiting_jobs(view(grows)) == {}


def test_an_order_that_cannot_be_taken_back_is_left_alone() -> None:
    grows = growing("a", NODES[:1], NODES[1:4], returning=None)
    seen = view(grows, free=NODES[4:5], waiting=(waiting(3),))
    assert for_waiting_jobs(seen) == all_growth(seen, why="") == {}


def test_growth_is_taken_back_when_the_cap_is_lowered_below_it() -> None:
    declared = dict.fromkeys(NODES, Watts(0.0, 100.0))

    def capped(watts: float) -> View:
        return replace(view(growing("a", NODES[:1], NODES[1:4]), job("b", NODES[4:6])), power=Power(declared, watts))

    assert for_the_cap(capped(600.0)) == {}
    assert for_the_cap(capped(599.0)) == {"a": CAPPED}
    assert for_the_cap(replace(capped(0.0), power=Power(declared))) == {}


def test_all_growth_is_taken_back_when_the_agent_is_switched_off() -> None:
    assert all_growth(view(growing("a", NODES[:1], NODES[1:2]), job("b", NODES[2:3])), why="off") == {"a": "off"}
