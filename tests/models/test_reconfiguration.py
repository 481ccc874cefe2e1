"""What reconfigurations cost, learnt from those of the job."""

from __future__ import annotations

import pytest

from flexmpi.models.estimate import Refusal
from flexmpi.models.reconfiguration import DECLARED, KEPT, MeasuredResize, ReconfigurationCost, Resize


def growth(ranks: int, size_bytes: int = 0, parked: bool = False) -> Resize:
    return Resize(started=0 if parked else ranks, joining=ranks, leaving=0, size_bytes=size_bytes)


def measured(resize: Resize) -> MeasuredResize:
    """A reconfiguration whose every phase is affine in what it depends on."""
    start_s = 0.2 + 0.1 * resize.started if resize.started else None
    return MeasuredResize(
        resize,
        start_s=start_s,
        join_s=0.01 + 0.002 * resize.joining if resize.joining else 0.0,
        move_s=0.001 + 1e-9 * resize.size_bytes,
        part_s=0.005 if resize.leaving else 0.0,
    )


def learnt_from(*resizes: Resize) -> ReconfigurationCost:
    cost = ReconfigurationCost()
    for resize in resizes:
        cost = cost.after(measured(resize))
    return cost


def test_before_there_are_enough_samples_declared_figures_stand_in_and_say_so():
    cost = learnt_from(growth(1, 10**6))
    there = cost.predict(growth(2, 10**9))
    assert there.start_s == DECLARED.start_s
    assert there.move_s.value == pytest.approx(1.0)
    assert there.stall_s.source == "declared"
    refused = cost.learnt(growth(2, 10**9))
    assert refused == Refusal("fewer than 2 reconfigurations of this job show what starting, joining, moving takes")


def test_each_phase_is_learnt_against_what_it_depends_on():
    cost = learnt_from(growth(1, 10**6), growth(4, 10**8), growth(2, 10**7))
    there = cost.learnt(growth(8, 10**9))
    assert not isinstance(there, Refusal)
    assert there.start_s.value == pytest.approx(1.0, rel=0.1)
    assert there.join_s.value == pytest.approx(0.026, rel=0.15)
    assert there.move_s.value == pytest.approx(1.0, rel=0.1)
    assert there.stall_s.value == pytest.approx(there.join_s.value + there.move_s.value)


def test_a_phase_that_does_not_happen_takes_nothing_and_needs_no_sample():
    there = learnt_from(growth(1, 8), growth(1, 8)).learnt(growth(1, 0, parked=True))
    assert not isinstance(there, Refusal)
    assert (there.start_s.value, there.move_s.value, there.part_s.value) == (0, 0, 0)
    assert there.join_s.source == "learnt"


def test_the_error_says_how_far_the_samples_spread():
    steady, wild = ReconfigurationCost(), ReconfigurationCost()
    for factor in (0.5, 1.5, 0.5, 1.5):
        steady = steady.after(MeasuredResize(growth(1), 0.3, 0.01, 0.0, 0.0))
        wild = wild.after(MeasuredResize(growth(1), 0.3, 0.01 * factor, 0.0, 0.0))
    assert steady.predict(growth(1)).join_s.value == pytest.approx(0.01, rel=0.02)
    assert steady.predict(growth(1)).join_s.error < 0.001
    assert wild.predict(growth(1)).join_s.error > 0.004


def test_only_the_latest_samples_are_kept():
    assert len(learnt_from(*[growth(1)] * (KEPT + 5)).samples) == KEPT
