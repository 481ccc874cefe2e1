"""The policies of command 1: their names, the original's, what they take, and when ``balance`` wants to act."""

from __future__ import annotations

import pytest

from flexmpi.errors import CommandError
from flexmpi.runtime.job.balance import PATIENCE, THRESHOLD
from flexmpi.runtime.job.measurements import IntervalReport
from flexmpi.runtime.job.policies import POLICIES, PREDICTION_THRESHOLD, JobPolicy


def interval(*busy_s: float) -> IntervalReport:
    size = len(busy_s)
    idle = [0.0] * size
    return IntervalReport(
        iteration=10,
        iterations=10,
        next_at=20,
        load=[1.0] * size,
        weights=[1.0] * size,
        real_s=busy_s,
        processor_s=busy_s,
        communication_s=idle,
        io_s=idle,
    )


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        ("triggered", "triggered"),
        ("schedule", "schedule"),
        ("balance", "balance"),
        ("monitor", "monitor"),
        ("Balance", "balance"),
        ("LBALANCE", "balance"),
        ("MONITORDBG", "monitor"),
        ("MALLEABILITY", "schedule"),
        ("MALLEABILITY_COND", "schedule"),
        ("NULL", "triggered"),
        ("MALLEABILITY_TRIG", "triggered"),
        ("EMPI_Monitor_malleability_triggered", "triggered"),
        ("EFFICIENCY", "performance"),
        ("COST", "cost"),
        ("EFFICIENCY_IRR", "performance"),
        ("COST_IRR", "cost"),
        ("ENERGY", "energy"),
        ("Performance-per-Watt", "performance-per-watt"),
        ("speedup", "speedup"),
    ],
)
def test_a_policy_is_known_by_our_name_and_by_the_originals(name, policy):
    assert JobPolicy.named(name, objective=60.0 if policy in ("performance", "cost") else None).name == policy


def test_the_originals_conditional_policy_follows_the_schedule_as_far_as_growth_gains():
    conditional, plain = JobPolicy.parse("MALLEABILITY_COND"), JobPolicy.parse("MALLEABILITY")
    assert (conditional.conditional, conditional.learns, conditional.predicts) == (True, True, False)
    assert (plain.conditional, plain.learns) == (False, False)
    assert conditional.summary() == f"{plain.summary()}; grows only by as many ranks of a line as are predicted to gain"


@pytest.mark.parametrize(("objective", "part"), [(0.25, 0.25), (25.0, 0.25), (0.999, 0.999), (1.0, 0.01)])
def test_the_originals_irregular_policies_want_a_part_of_the_time_saved(objective, part):
    policy = JobPolicy.parse(f"EFFICIENCY_IRR:{objective}:0.1")
    assert (policy.name, policy.sooner, policy.threshold) == ("performance", True, 0.1)
    assert policy.objective == pytest.approx(part)
    assert policy.summary().endswith(f"(objective {100 * part:g} % sooner than without changes, threshold 0.1)")


@pytest.mark.parametrize("objective", [None, 0.0, 100.0])
def test_an_irregular_policy_without_such_a_part_is_refused(objective):
    with pytest.raises(CommandError, match="how much sooner than without changes it is to finish"):
        JobPolicy.named("COST_IRR", objective=objective)


def test_an_unknown_policy_is_refused_with_the_known_ones():
    with pytest.raises(CommandError) as refused:
        JobPolicy.named("FASTEST")
    assert str(refused.value) == f"unknown policy 'FASTEST' (there are {', '.join(POLICIES)})"


def any_named(name: str) -> JobPolicy:
    return JobPolicy.named(name, objective=60.0 if name in ("performance", "cost") else None)


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_says_what_it_does(name):
    assert any_named(name).summary().startswith(f"{name}: {POLICIES[name]}")


def test_numbers_of_a_policy_that_predicts_are_an_aim_and_what_a_change_must_gain():
    policy = JobPolicy.named("EFFICIENCY", objective=120.0, threshold=0.1)
    assert (policy.predicts, policy.objective, policy.threshold) == (True, 120.0, 0.1)
    assert policy.summary().endswith("(objective 120, threshold 0.1)")
    assert JobPolicy.named("energy").objective == 0.1
    assert JobPolicy.named("energy", objective=0.0).objective == 0.0
    assert JobPolicy.named("speedup").threshold == PREDICTION_THRESHOLD
    assert not JobPolicy.named("balance").predicts


def test_a_policy_is_read_from_the_command_line_as_from_command_1():
    assert JobPolicy.parse("performance:600:0.1") == JobPolicy.named("performance", objective=600.0, threshold=0.1)
    assert JobPolicy.parse("LBALANCE:0:0.25") == JobPolicy.named("balance", threshold=0.25)
    assert JobPolicy.parse("speedup") == JobPolicy.named("speedup")


@pytest.mark.parametrize("text", ["performance:ten", "cost:1:2:3", "cost:", "cost:nan", "energy:inf", ":5"])
def test_what_is_no_policy_with_numbers_is_refused(text):
    with pytest.raises(CommandError):
        JobPolicy.parse(text)


def test_a_threshold_is_a_fraction_and_is_kept_as_such():
    policy = JobPolicy.named("LBALANCE", objective=0, threshold=0.25)
    assert policy.hysteresis.threshold == 0.25
    assert "imbalance of 0.25" in policy.summary()
    assert JobPolicy.named("balance").hysteresis.threshold == THRESHOLD


@pytest.mark.parametrize(
    ("name", "numbers", "why"),
    [
        ("balance", {"objective": 0.0, "threshold": 0.0}, "must be positive, got 0"),
        ("balance", {"objective": 5.0}, "policy balance has no objective, got 5"),
        ("triggered", {"objective": 0.0, "threshold": 0.2}, "policy triggered has no threshold, got 0.2"),
        ("MALLEABILITY", {"objective": 100.0, "threshold": 0.2}, "policy schedule has no objective, got 100"),
        ("performance", {}, "policy performance needs an objective: the seconds from its start"),
        ("cost", {"objective": 0.0}, "in which the job is to finish, above 0, got 0"),
        ("speedup", {"objective": 1.5}, "the least efficiency of its ranks, above 0 and at most 1, got 1.5"),
        ("performance-per-watt", {"objective": 2.0}, "policy performance-per-watt has no objective, got 2"),
        ("energy", {"objective": 0.1, "threshold": 1.0}, "a fraction, 0 or more and below 1, got 1"),
    ],
)
def test_numbers_that_a_policy_does_not_take_are_refused_and_not_ignored(name, numbers, why):
    with pytest.raises(CommandError) as refused:
        JobPolicy.named(name, **numbers)
    assert why in str(refused.value)


def after(policy: JobPolicy, *history: IntervalReport) -> JobPolicy:
    for latest in history:
        policy = policy.after(latest)
    return policy


@pytest.mark.parametrize("name", POLICIES)
def test_only_the_policy_balance_wants_a_balance_and_only_after_its_patience(name):
    policy = after(any_named(name), *[interval(1.0, 2.0)] * (PATIENCE - 1))
    assert not policy.wants_balance
    assert policy.after(interval(1.0, 2.0)).wants_balance == (name == "balance")


def test_after_it_has_acted_patience_begins_anew():
    policy = after(JobPolicy.named("balance"), *[interval(1.0, 2.0)] * PATIENCE).acted()
    assert not policy.wants_balance
    assert not after(policy, *[interval(1.0, 2.0)] * (PATIENCE - 1)).wants_balance
    assert after(policy, *[interval(1.0, 2.0)] * PATIENCE).wants_balance


def test_a_balanced_application_is_left_alone():
    assert not after(JobPolicy.named("balance"), *[interval(1.0, 1.1)] * 20).wants_balance


def test_waiting_in_communication_and_io_is_no_load():
    waiting = IntervalReport(10, 10, 20, [1, 1], [1, 1], [5.0, 5.0], [5.0, 5.0], [4.0, 1.0], [0.0, 3.0])
    assert waiting.busy_s == [1.0, 1.0]
    assert not after(JobPolicy.named("balance"), *[waiting] * 20).wants_balance
