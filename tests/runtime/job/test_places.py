"""Newcomers take the numbers that move the fewest rows, compared with all orders there are and with the lower bound."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from flexmpi.runtime.arrays.distribution import Distribution, expand_old
from flexmpi.runtime.job.balance import weights_after
from flexmpi.runtime.job.places import interleaved, members_places, newcomers_places

quick = settings(derandomize=True, max_examples=150, deadline=None)
weight_lists = st.lists(st.sampled_from([0.5, 1.0, 1.0, 1.0, 3.0]), min_size=1, max_size=5)


def changing_ranks(starts: NDArray[np.int64], old: Distribution, new: Distribution) -> int:
    """Return what changes ranks of elements of which row ``i`` has those from ``starts[i]`` to ``starts[i + 1]``."""
    first = np.maximum(old.offset_array[:-1], new.offset_array[:-1])
    last = np.minimum(old.offset_array[1:], new.offset_array[1:])
    return int(starts[-1] - (starts[last] - starts[first]).clip(min=0).sum())


def moved(rows: int, weights: list[float], leaving: set[int], newcomers: list[float], places: tuple[int, ...]) -> int:
    """Return the rows that change ranks, by the distributions that the ranks will compute."""
    after = weights_after(weights, leaving=leaving, newcomers=newcomers, places=places)
    old = expand_old(Distribution.by_weight(rows, weights), places)
    return changing_ranks(np.arange(rows + 1), old, Distribution.by_weight(rows, after))


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


@quick
@given(transitions(), st.integers(0, 2**32 - 1))
def test_a_matrix_shared_by_its_nonzeros_moves_no_more_of_them_than_in_any_other_order(
    transition: tuple[list[float], set[int], list[float]], seed: int
) -> None:
    weights, leaving, newcomers = transition
    lengths = np.random.default_rng(seed).integers(0, 50, 20_000)
    lengths[:5000] *= 8
    starts, size = np.concatenate([[0], np.cumsum(lengths)]), len(weights) + len(newcomers)

    def shares(places: tuple[int, ...]) -> tuple[Distribution, Distribution]:
        after = weights_after(weights, leaving=leaving, newcomers=newcomers, places=places)
        return expand_old(Distribution.by_cost(lengths, weights), places), Distribution.by_cost(lengths, after)

    chosen = changing_ranks(starts, *shares(newcomers_places(weights, leaving=leaving, newcomers=newcomers)))
    orders = combinations(range(0 if 0 in leaving else 1, size), len(newcomers))
    best = min(changing_ranks(starts, *shares(places)) for places in orders)
    # Each end of a share lies within one row of where it should, before and after.
    allowance = 2 * size * int(lengths.max())
    assert best <= chosen <= best + allowance
    if set(weights) == set(newcomers) == {1.0} and not leaving and len(newcomers) % len(weights) == 0:
        old, new = shares(newcomers_places(weights, leaving=leaving, newcomers=newcomers))
        held = [np.diff(starts[each.offset_array]) for each in (old, new)]
        assert chosen <= int((held[1] - held[0]).clip(min=0).sum()) + allowance, "the lower bound of any distribution"
