"""What is kept of an interval, and of which intervals."""

from __future__ import annotations

import numpy as np
import pytest

from flexmpi.models.observation import (
    KEPT_INTERVALS,
    KEPT_LAYOUTS,
    MINIMUM_INTERVALS,
    UNCLASSIFIED,
    History,
    Observation,
)
from tests.models.jobs import equal_ranks, interval, on_nodes


def raw(**changed: object) -> Observation:
    figures = {
        "nodes": ["a", "b"],
        "classes": ["x", "x"],
        "weights": [1.0, 1.0],
        "load": [5, 5],
        "iterations": 10,
        "real_s": [20.0, 20.0],
        "processor_s": [10.0, 20.0],
        "communication_s": [5.0, 10.0],
        "io_s": [5.0, 0.0],
    }
    return Observation.of_interval(**{**figures, **changed})


def test_figures_are_for_one_iteration_and_communication_and_io_are_no_computing():
    seen = raw()
    assert seen.busy_s == (1.0,)
    assert (seen.computation_s, seen.communication_s, seen.io_s) == (1.0, pytest.approx(0.75), 0.25)
    assert seen.iteration_s == pytest.approx(2.0)
    assert seen.processor_share == 0.75


def test_the_ranks_with_the_odd_row_speak_for_their_group():
    seen = interval(on_nodes(3), rows=10)
    assert seen.shares == (0.4,)
    assert seen.busy_s == (pytest.approx(0.4),)


def test_the_slowest_group_says_what_communication_takes_for_the_others_wait_in_it():
    seen = interval(["fast0", "slow0"], speeds={"fast": 2.0}, communication_s=0.1)
    assert seen.busy_s == (pytest.approx(0.25), pytest.approx(0.5))
    assert seen.communication_s == pytest.approx(0.1)


def test_communication_that_belongs_to_no_class_is_kept_as_such():
    seen = raw(io_s=[0.0, 0.0], operations={"reduction": [[2, 16, 2.0], [2, 16, 4.0]], "barrier": [[0, 0, 0.0]] * 2})
    assert set(seen.operations) == {"reduction", UNCLASSIFIED}
    assert seen.operations["reduction"].calls == 2.0
    assert seen.operations["reduction"].seconds == pytest.approx(0.3)
    assert seen.operations[UNCLASSIFIED].seconds == pytest.approx(0.45)


def test_rows_are_known_only_where_they_are_what_is_shared():
    assert raw().rows == 10
    assert raw(load=[1.0, 1.0]).rows == 2
    assert raw(load=[1.0, 1.0], whole_rows=False).rows is None


def test_the_first_interval_after_a_change_warms_caches_up_and_is_left_out():
    history = History().after(interval(on_nodes(1)))
    assert history.latest is None
    assert str(history.too_few) == f"0 of {MINIMUM_INTERVALS} sampling intervals measured since the ranks last changed"
    for _ in range(MINIMUM_INTERVALS):
        history = history.after(interval(on_nodes(1)))
    assert history.too_few is None


def test_only_the_latest_intervals_and_layouts_are_kept():
    history = History()
    for nodes in range(1, KEPT_LAYOUTS + 5):
        for _ in range(3):
            history = history.after(interval(on_nodes(nodes)))
    for _ in range(2 * KEPT_INTERVALS):
        history = history.after(interval(on_nodes(2)))
    assert len(history.seen) == KEPT_LAYOUTS
    assert len(history.seen[equal_ranks(2)]) == KEPT_INTERVALS
    assert list(history.seen)[-1] == history.present == equal_ranks(2)


def test_what_other_layouts_took_is_scaled_by_how_the_present_one_has_changed():
    history = History()
    for seen in [interval(on_nodes(1))] * 5 + [interval(on_nodes(2))] * 5:
        history = history.after(seen)
    assert history.as_of_now() == history.seen
    for _ in range(2 * KEPT_INTERVALS):
        history = history.after(interval(on_nodes(2), parallel_s=3.0))
    assert history.as_of_now()[equal_ranks(1)][-1].busy_s == (pytest.approx(3.0),)
    assert history.as_of_now()[equal_ranks(2)][-1].busy_s == (pytest.approx(1.5),)
    moved = history.after(interval(on_nodes(4), parallel_s=3.0))
    assert moved.seen[equal_ranks(1)][-1].busy_s == (pytest.approx(3.0),)


def test_noise_is_no_change():
    random = np.random.default_rng(3)
    history = History()
    for nodes in (1, 2):
        for _ in range(40):
            history = history.after(interval(on_nodes(nodes), noise=0.05, random=random))
            assert history.as_of_now() == history.seen
