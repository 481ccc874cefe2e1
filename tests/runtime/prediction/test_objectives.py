"""What each policy makes of the same job, and when it leaves it alone."""

from __future__ import annotations

import re
from itertools import product

import pytest

from flexmpi.models.estimate import Refusal
from flexmpi.models.power import Watts
from flexmpi.runtime.job.policies import OBJECTIVES as NUMBERS
from flexmpi.runtime.prediction.alternatives import alternatives, compared
from flexmpi.runtime.prediction.objectives import OBJECTIVES, Decision, decide, grow_where_it_gains
from tests.runtime.prediction.situations import situation

ALL = [ranks for ranks in product(range(5), range(9)) if any(ranks)]
# Ranks that share a node and ranks that do not have been seen, so that all of the platform is within reach.
SLOW_TWO = (
    (("slow1", 1),),
    (("slow1", 4), ("slow2", 4)),
    (("slow1", 1), ("slow2", 1)),
    (("slow1", 4),),
    (("slow1", 2),),
)
WATTS = {"slow": Watts(50.0, 10.0), "fast": Watts(100.0, 60.0)}


def decided(policy: str, *history: object, objective: float, threshold: float = 0.05, **options: object) -> Decision:
    now = situation(*(history or SLOW_TWO), **options)
    known = alternatives(now, ALL)
    assert not isinstance(known, Refusal)
    decision = decide(policy, known, objective=objective, threshold=threshold, elapsed_s=now.elapsed_s)
    assert isinstance(decision, Decision), decision
    return decision


def chosen(decision: Decision) -> dict[str, float]:
    return decision.record["chosen"]


def test_the_policies_and_their_numbers_are_told_in_two_places_that_agree():
    assert list(OBJECTIVES) == list(NUMBERS)


def test_performance_takes_the_cheapest_that_is_in_time():
    # 1,000 iterations of 1 s on one slow rank: 4 slow ranks need 250 s, and each costs 2 a second.
    decision = decided("performance", objective=260.0)
    assert decision.changes == {"slow1": 2}
    assert chosen(decision)["to_go_s"] == pytest.approx(250, rel=0.02)


def test_performance_never_refuses_one_for_being_faster_than_asked_for():
    # Whole ranks only: nothing comes within 5 % of 340 s but 3 ranks, that are faster.
    assert decided("performance", objective=390.0, threshold=0.01).changes == {"slow1": 1}


def test_performance_gives_ranks_back_that_are_not_needed():
    history = ((("slow1", 2),), (("slow1", 4), ("slow2", 4)))
    assert decided("performance", *history, objective=600.0).changes == {"slow2": -4, "slow1": -2}


def test_performance_keeps_what_is_late_by_less_than_the_threshold():
    late = {"objective": 490.0, "remaining": 1000}
    assert decided("performance", **late, threshold=0.05).changes == {}
    assert decided("performance", **late, threshold=0.01).changes != {}


def test_performance_wants_the_fastest_where_nothing_is_in_time():
    decision = decided("performance", objective=10.0)
    assert decision.changes == {"slow1": 2, "slow2": 4, "fast1": 2, "fast2": 2}


def test_near_the_end_nothing_is_started_for_nothing():
    decision = decided("performance", objective=0.3, remaining=1)
    assert decision.changes == {}


def test_without_prices_every_rank_costs_the_same():
    decision = decided("performance", objective=260.0, priced=False)
    # Two fast ranks are as good as four slow ones.
    assert chosen(decision)["ranks"] == 2
    assert decision.changes == {"fast1": 2, "slow1": -2}


def test_cost_takes_the_lowest_price_that_is_in_time():
    # A fast rank is twice as fast and five times as dear: slow ones are cheaper for as long as they suffice.
    assert set(decided("cost", objective=130.0).changes) == {"slow1", "slow2"}
    # With a serial part fewer ranks are cheaper still.
    decision = decided("cost", *SLOW_TWO, objective=10_000.0, serial_s=1.0)
    assert decision.changes == {"slow1": -1}


def test_cost_without_prices_waits():
    known = alternatives(situation(*SLOW_TWO, priced=False), ALL)
    assert not isinstance(known, Refusal)
    refused = decide("cost", known, objective=100.0, threshold=0.05, elapsed_s=0.0)
    assert refused == Refusal("the corefile has no cost for slow")


def test_energy_stays_within_the_slowdown_it_is_allowed():
    fastest = decided("energy", objective=0.0, watts=WATTS)
    frugal = decided("energy", objective=2.0, watts=WATTS)
    assert chosen(fastest)["ranks"] == 12
    assert chosen(frugal)["to_go_s"] <= 3.0 * chosen(fastest)["to_go_s"]
    assert chosen(frugal)["energy_j"] < chosen(fastest)["energy_j"]
    assert set(frugal.changes) <= {"slow1", "slow2"}


def test_performance_per_watt_does_the_most_for_a_joule_however_long_it_takes():
    decision = decided("performance-per-watt", objective=0.0, watts=WATTS)
    # A slow node has 50 W whether it is full or not: full ones do the most for a joule.
    assert chosen(decision)["ranks"] % 4 == 0
    assert "fast1" not in decision.changes


@pytest.mark.parametrize("policy", ["energy", "performance-per-watt"])
def test_policies_of_energy_wait_for_watts(policy):
    known = alternatives(situation(*SLOW_TWO), ALL)
    assert not isinstance(known, Refusal)
    refused = decide(policy, known, objective=0.1, threshold=0.05, elapsed_s=0.0)
    assert isinstance(refused, Refusal)
    assert "no watts declared" in refused.why


def test_speedup_grows_while_ranks_are_efficient_and_shrinks_when_they_are_not():
    assert chosen(decided("speedup", objective=0.9))["ranks"] == 12
    # Half of a slow rank's time is serial: of two ranks each is worth 0.75.
    assert decided("speedup", *SLOW_TWO, objective=0.9, serial_s=0.5, parallel_s=0.5).changes == {"slow1": -1}
    assert decided("speedup", *SLOW_TWO, objective=0.6, serial_s=0.5, parallel_s=0.5).changes == {}


def test_a_change_that_gains_too_little_is_named_and_not_made():
    decision = decided("speedup", objective=0.01, threshold=0.9)
    assert decision.changes == {}
    assert "not worth a change" in decision.line
    assert decision.record["worth_it"] is False


def test_a_decisions_line_says_now_wanted_chosen_gain_and_cost():
    line = decided("performance", objective=260.0).line
    expected = (
        "Policy performance: now 2 ranks, 500 ms ± # ms an iteration, 500 s to go, price 2000; "
        "wanted to finish within 260 s; chosen 4 ranks, 250 ms ± # ms an iteration, 250.# s to go, price 200# "
        "(+2 on slow1): gain 250 s, cost 0.2 s of starting and 0.# s of standing still"
    )
    assert re.fullmatch(re.escape(expected).replace(r"\#", "[0-9.]+"), line), line
    assert decided("performance", objective=510.0).line.endswith("wanted to finish within 510 s; keeps this")


def test_a_decision_is_kept_as_json_values():
    record = decided("performance", objective=260.0).record
    assert record["now"]["ranks"] == 2
    assert record["chosen"]["changes"] == {"slow1": 2}
    assert record["chosen"]["power_w"] is None
    assert record["chosen"]["price"] == pytest.approx(8 * record["chosen"]["to_go_s"])


@pytest.mark.parametrize(
    ("parallel_s", "communication_s", "remaining", "ranks"),
    [(1.0, 0.0, 1000, 3), (0.1, 0.0, 1, 0), (0.01, 0.2, 1000, 0)],
    ids=["all of it gains", "too late for any of it", "more ranks only communicate more"],
)
def test_a_growth_that_is_planned_happens_as_far_as_the_job_ends_sooner_by_it(
    parallel_s, communication_s, remaining, ranks
):
    history = ((("slow1", 4), ("slow2", 4)), (("slow1", 2),))
    now = situation(*history, parallel_s=parallel_s, communication_s=communication_s, remaining=remaining)
    present, *parts = compared(now, [{"slow2": count} for count in (1, 2, 3)])
    decision = grow_where_it_gains([present, *parts], present, wanted="+3 on slow2 at iteration 10")
    assert decision.changes == ({"slow2": ranks} if ranks else {})
    assert ("; chosen 5 ranks, " in decision.line) == bool(ranks)
    assert decision.line.endswith("; keeps this") == (not ranks)
