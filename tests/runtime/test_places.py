"""Newcomers take the numbers that move the fewest rows, compared with all orders there are and with the lower bound."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.runtime.balance import weights_after
from flexmpi.runtime.distribution import Distribution, expand_old, overlap_plan
from flexmpi.runtime.places import interleaved, members_places, newcomers_places

quick = settings(derandomize=True, max_examples=150, deadline=None)
weight_lists = st.lists(st.sampled_from([0.5, 1.0, 1.0, 1.0, 3.0]), min_size=1, max_size=5)


def moved(rows: int, weights: list[float], leaving: set[int], newcomers: list[float], places: tuple[int, ...]) -> int:
    """Return the rows that change ranks, by the distributions that the ranks will compute."""
    after = weights_after(weights, leaving=leaving, newcomers=newcomers, places=places)
    old = expand_old(Distribution.by_weight(rows, weights), places)
    new = Distribution.by_weight(rows, after)
    return sum(len(received) for rank in range(new.size) for _, received in overlap_plan(old, new, rank).receives)


def least(rows: int, weights: list[float], leaving: set[int], newcomers: list[float]) -> int:
    """Return the rows that must change ranks for this balance, wherever they lie: what ranks have more than before."""
    places = tuple(range(len(weights), len(weights) + len(newcomers)))
    after = weights_after(weights, leaving=leaving, newcomers=newcomers, places=places)
    old = expand_old(Distribution.by_weight(rows, weights), places)
    return int((Distribution.by_weight(rows, after).counts - old.counts).clip(min=0).sum())


@st.composite
def transitions(draw: st.DrawFn) -> tuple[list[float], set[int], list[float]]:
    weights, newcomers = draw(weight_lists), draw(st.lists(st.sampled_from([0.5, 1.0, 2.0]), min_size=1, max_size=4))
    return weights, draw(st.sets(st.integers(0, len(weights) - 1))), newcomers


@quick
@given(transitions())
def test_no_other_order_moves_fewer_rows(transition: tuple[list[float], set[int], list[float]]) -> None:
    weights, leaving, newcomers = transition
    rows, size = 1_000_000, len(weights) + len(newcomers)
    chosen = newcomers_places(weights, leaving=leaving, newcomers=newcomers)
    first = 0 if 0 in leaving else 1
    orders = combinations(range(first, size), len(newcomers))
    best = min(moved(rows, weights, leaving, newcomers, places) for places in orders)
    # Row counts are whole numbers, each within one of the exact share.
    assert best <= moved(rows, weights, leaving, newcomers, chosen) <= best + 2 * size


@pytest.mark.parametrize("size", range(1, 9))
@pytest.mark.parametrize("factor", [2, 3, 4, 5])
def test_a_job_that_becomes_a_multiple_of_itself_moves_the_fewest_rows_there_can_be(size: int, factor: int) -> None:
    weights, newcomers, rows = [1.0] * size, [1.0] * (factor - 1) * size, 840 * size
    places = newcomers_places(weights, leaving=(), newcomers=newcomers)
    assert moved(rows, weights, set(), newcomers, places) == least(rows, weights, set(), newcomers)


@quick
@given(st.integers(1, 30), st.integers(1, 30))
def test_blocks_in_one_piece_cost_a_quarter_of_the_rows_at_most(size: int, joining: int) -> None:
    weights, newcomers, rows = [1.0] * size, [1.0] * joining, 3 * size * (size + joining)
    places = newcomers_places(weights, leaving=(), newcomers=newcomers)
    behind = tuple(range(size, size + joining))
    chosen = moved(rows, weights, set(), newcomers, places)
    assert chosen <= least(rows, weights, set(), newcomers) + rows / 4
    assert chosen <= moved(rows, weights, set(), newcomers, behind)


def test_newcomers_take_the_place_of_those_who_leave() -> None:
    assert newcomers_places([1.0] * 4, leaving=(1,), newcomers=[1.0]) == (2,)
    assert moved(400, [1.0] * 4, {1}, [1.0], (2,)) == 100
    places = newcomers_places([1.0, 1.0], leaving=(0,), newcomers=[1.0])
    assert moved(400, [1.0, 1.0], {0}, [1.0], places) == 200


@quick
@given(transitions())
def test_rank_0_stays_the_first_until_it_leaves(transition: tuple[list[float], set[int], list[float]]) -> None:
    weights, leaving, newcomers = transition
    places = newcomers_places(weights, leaving=leaving, newcomers=newcomers)
    assert len(places) == len(newcomers)
    assert list(places) == sorted(set(places))
    assert set(places) <= set(range(len(weights) + len(newcomers)))
    if 0 not in leaving:
        assert 0 not in places


def test_where_the_order_does_not_matter_newcomers_come_last() -> None:
    assert newcomers_places([1.0], leaving=(), newcomers=[1.0, 1.0]) == (1, 2)
    assert newcomers_places([1.0, 2.0], leaving=(), newcomers=[]) == ()


def test_members_and_newcomers_are_brought_into_one_order() -> None:
    assert members_places(5, (1, 3)) == [0, 2, 4]
    assert interleaved("ace", "bd", (1, 3)) == list("abcde")
