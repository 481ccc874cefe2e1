"""Every row has one owner, overlap plans of all ranks match, and cost cuts do not depend on who asks."""

from __future__ import annotations

import pickle
from fractions import Fraction
from itertools import pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.runtime.arrays.distribution import (
    Distribution,
    cut_rows,
    drop_leavers,
    expand_old,
    overlap_plan,
    share_targets,
    whole_costs,
)

quick = settings(derandomize=True, max_examples=200, deadline=None)

weight = st.one_of(
    st.just(0.0), st.sampled_from([0.1, 0.3, 1.0, 1.0, 3.0]), st.floats(0, 1e300), st.floats(1e-300, 1e-200)
)
weight_lists = st.lists(weight, min_size=1, max_size=12).filter(any)
row_numbers = st.one_of(st.integers(0, 20), st.integers(0, 10**12))
count_lists = st.lists(st.one_of(st.just(0), st.integers(0, 9)), min_size=1, max_size=8)


@st.composite
def two_distributions(draw: st.DrawFn) -> tuple[Distribution, Distribution]:
    size = draw(st.integers(1, 8))
    rows = draw(st.integers(0, 30))
    borders = st.lists(st.integers(0, rows), min_size=size - 1, max_size=size - 1).map(sorted)
    old, new = (Distribution((0, *draw(borders), rows)) for _ in range(2))
    return old, new


def test_ten_rows_over_three_equal_ranks_give_the_first_the_extra_row() -> None:
    assert Distribution.by_weight(10, [1, 1, 1]).counts.tolist() == [4, 3, 3]
    assert Distribution.by_weight(11, [0.1, 0.1, 0.1]).counts.tolist() == [4, 4, 3]


def test_fewer_rows_than_ranks_leave_the_last_ranks_empty() -> None:
    assert Distribution.by_weight(2, [1.0] * 5).counts.tolist() == [1, 1, 0, 0, 0]


def test_the_largest_remainder_gets_the_extra_row() -> None:
    # Exact shares 5.4, 3.6 and 1.0.
    assert Distribution.by_weight(10, [5.4, 3.6, 1.0]).counts.tolist() == [5, 4, 1]


@quick
@given(row_numbers, weight_lists)
def test_by_weight_owns_every_row_once_within_one_of_the_exact_share(rows: int, weights: list[float]) -> None:
    distribution = Distribution.by_weight(rows, weights)
    assert distribution.size == len(weights)
    assert distribution.rows == rows == sum(distribution.counts.tolist())
    total = sum(map(Fraction, weights))
    for count, each in zip(distribution.counts.tolist(), weights, strict=True):
        assert abs(count - rows * Fraction(each) / total) < 1
        assert each > 0 or count == 0
    for rank, following in pairwise(range(distribution.size)):
        assert distribution.interval(rank).stop == distribution.interval(following).start


@quick
@given(row_numbers, st.integers(1, 12), st.floats(1e-300, 1e300))
def test_equal_weights_give_the_extra_rows_to_the_first_ranks(rows: int, size: int, each: float) -> None:
    extra = rows % size
    expected = [rows // size + 1] * extra + [rows // size] * (size - extra)
    assert Distribution.by_weight(rows, [each] * size).counts.tolist() == expected


@pytest.mark.parametrize("weights", [[], [0.0], [0.0, 0.0], [1.0, -0.5], [1.0, float("nan")], [float("inf"), 1.0]])
def test_weights_that_share_nothing_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weights must be finite"):
        Distribution.by_weight(10, weights)
    with pytest.raises(ValueError, match="weights must be finite"):
        Distribution.by_cost([1.0, 2.0], weights)


def test_negative_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="rows must not be negative"):
        Distribution.by_weight(-1, [1.0])


@pytest.mark.parametrize("offsets", [(), (0,), (1, 2), (0, 3, 2)])
def test_offsets_that_are_no_distribution_are_refused(offsets: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="offsets must start at 0"):
        Distribution(offsets)


def test_equal_distributions_are_equal_and_pickle_without_their_cached_arrays() -> None:
    distribution = Distribution.from_counts(np.array([3, 0, 4]))
    plain = pickle.dumps(Distribution((0, 3, 3, 7)))
    assert distribution.counts.tolist() == [3, 0, 4]
    assert distribution.offset_array.tolist() == [0, 3, 3, 7]
    assert distribution == Distribution((0, 3, 3, 7)) == pickle.loads(pickle.dumps(distribution))
    assert hash(distribution) == hash(Distribution((0, 3, 3, 7)))
    assert pickle.dumps(distribution) == plain
    assert distribution != Distribution((0, 3, 7))


def test_the_arrays_of_a_distribution_cannot_be_changed() -> None:
    distribution = Distribution.from_counts([1, 2])
    for array in (distribution.counts, distribution.offset_array):
        assert array.dtype == np.int64
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 5


@quick
@given(two_distributions())
def test_overlap_plans_of_all_ranks_match_and_cover_every_row_once(pair: tuple[Distribution, Distribution]) -> None:
    old, new = pair
    plans = [overlap_plan(old, new, rank) for rank in range(old.size)]
    sent = {(rank, peer, rows) for rank, plan in enumerate(plans) for peer, rows in plan.sends}
    received = {(peer, rank, rows) for rank, plan in enumerate(plans) for peer, rows in plan.receives}
    assert sent == received
    assert all(rows and sender != receiver for sender, receiver, rows in sent)
    for rank, plan in enumerate(plans):
        assert set(plan.keep) == set(old.interval(rank)) & set(new.interval(rank))
        given_away = [row for _, rows in plan.sends for row in rows]
        taken = [row for _, rows in plan.receives for row in rows]
        assert sorted([*plan.keep, *given_away]) == list(old.interval(rank))
        assert sorted([*plan.keep, *taken]) == list(new.interval(rank))


def test_an_overlap_plan_needs_the_same_rows_and_ranks() -> None:
    with pytest.raises(ValueError, match="same rows and ranks"):
        overlap_plan(Distribution((0, 4)), Distribution((0, 2, 4)), 0)
    with pytest.raises(ValueError, match="same rows and ranks"):
        overlap_plan(Distribution((0, 4)), Distribution((0, 5)), 0)


@quick
@given(count_lists, st.integers(0, 4), st.randoms(use_true_random=False))
def test_newcomers_are_taken_in_with_no_rows_and_leave_the_same_way(
    counts: list[int], newcomers: int, random: Random
) -> None:
    distribution = Distribution.from_counts(counts)
    places = sorted(random.sample(range(len(counts) + newcomers), newcomers))
    padded = expand_old(distribution, places)
    assert [padded.counts[place] for place in places] == [0] * newcomers
    assert drop_leavers(padded, places) == distribution


@quick
@given(count_lists)
def test_dropping_empty_leavers_keeps_every_row_of_the_others(counts: list[int]) -> None:
    leaving = {rank for rank, count in enumerate(counts) if not count}
    staying = [count for count in counts if count]
    if not staying:
        return
    old = Distribution.from_counts(counts)
    survivors = drop_leavers(old, leaving)
    assert survivors.counts.tolist() == staying
    held = [old.interval(rank) for rank in range(old.size) if rank not in leaving]
    assert [survivors.interval(rank) for rank in range(survivors.size)] == held


def test_a_leaver_that_holds_rows_and_newcomers_at_impossible_places_are_refused() -> None:
    distribution = Distribution.from_counts([2, 1])
    with pytest.raises(ValueError, match=r"ranks \[1\] leave but still hold rows"):
        drop_leavers(distribution, [1])
    for impossible in ((5,), (1, 1), (-1,)):
        with pytest.raises(ValueError, match="newcomers must have different places"):
            expand_old(distribution, impossible)


whole_cost_lists = st.lists(st.one_of(st.just(0), st.integers(0, 9), st.integers(0, 10**9)), max_size=40)
float_cost_lists = st.lists(st.one_of(st.just(0.0), st.floats(0, 1e3), st.floats(0, 1e300)), max_size=40)


def cuts_by_definition(costs: list[int], weights: list[float]) -> list[int]:
    """Place every row by the midpoint of its costs, in fractions; the answer the fast formulation must give."""
    total, all_weight = sum(costs), sum(map(Fraction, weights))
    borders = [total * sum(map(Fraction, weights[:rank])) / all_weight for rank in range(1, len(weights))]
    last = max(rank for rank, each in enumerate(weights) if each)
    counts, before = [0] * len(weights), 0
    for cost in costs:
        midpoint = before + Fraction(cost, 2)
        counts[min(last, sum(border <= midpoint for border in borders))] += 1
        before += cost
    return counts


@quick
@given(whole_cost_lists, weight_lists)
def test_a_row_goes_to_the_rank_whose_share_holds_the_midpoint_of_its_cost(
    costs: list[int], weights: list[float]
) -> None:
    distribution = Distribution.by_cost(costs, weights)
    if sum(costs):
        assert distribution.counts.tolist() == cuts_by_definition(costs, weights)
    else:
        assert distribution == Distribution.by_weight(len(costs), weights)


@quick
@given(st.one_of(whole_cost_lists, float_cost_lists), weight_lists)
def test_by_cost_owns_every_row_once_and_gives_none_to_weight_zero(costs: list[float], weights: list[float]) -> None:
    distribution = Distribution.by_cost(costs, weights)
    assert distribution.size == len(weights)
    assert distribution.rows == len(costs)
    assert all(each > 0 or count == 0 for each, count in zip(weights, distribution.counts.tolist(), strict=True))


@quick
@given(st.one_of(whole_cost_lists, float_cost_lists), weight_lists, st.data())
def test_cost_cuts_do_not_depend_on_how_the_rows_were_split(
    costs: list[float], weights: list[float], data: st.DataObject
) -> None:
    rows, largest = len(costs), float(max(costs, default=0))
    borders = sorted(data.draw(st.lists(st.integers(0, rows), max_size=5)))
    pieces = [
        whole_costs(np.array(costs[start:stop]), largest=largest, rows=rows)
        for start, stop in pairwise([0, *borders, rows])
    ]
    sums = [int(piece.sum()) for piece in pieces]
    if not sum(sums):
        return
    targets = share_targets(sum(sums), weights)
    counted = [
        cut_rows(np.concatenate([[0], np.cumsum(piece)]), cost_before=sum(sums[:place]), targets=targets).tolist()
        for place, piece in enumerate(pieces)
    ]
    cuts = [sum(below) for below in zip(*counted, strict=True)]
    assert Distribution((0, *cuts, rows)) == Distribution.by_cost(costs, weights)


@quick
@given(st.lists(st.integers(0, 9), max_size=40), weight_lists)
def test_whole_costs_are_cut_alike_with_and_without_a_common_factor(costs: list[int], weights: list[float]) -> None:
    starts = np.concatenate([[0], np.cumsum(costs)]).astype(np.int64)
    if starts[-1]:
        cuts = cut_rows(starts, cost_before=0, targets=share_targets(int(starts[-1]), weights))
        assert Distribution((0, *cuts.tolist(), len(costs))) == Distribution.by_cost(costs, weights)


def test_rows_without_cost_at_the_ends_go_to_ranks_with_weight() -> None:
    costs = [0, 0, 5, 5, 0, 0]
    assert Distribution.by_cost(costs, [0, 1, 0, 1, 0]).counts.tolist() == [0, 3, 0, 3, 0]
    assert Distribution.by_cost([5, 0, 0], [1, 0]).counts.tolist() == [3, 0]
    assert Distribution.by_cost([0, 0, 5], [0, 1]).counts.tolist() == [0, 3]


def test_equal_costs_are_shared_like_rows() -> None:
    assert Distribution.by_cost([7] * 12, [1, 2, 1]) == Distribution.by_weight(12, [1, 2, 1])


def test_one_expensive_row_does_not_empty_the_ranks_after_it() -> None:
    assert Distribution.by_cost([1, 1, 1, 1, 4, 1, 1, 1, 1], [1, 1]).counts.tolist() == [4, 5]
    assert Distribution.by_cost([100, 1, 1, 1], [1, 1]).counts.tolist() == [1, 3]


@quick
@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=40), st.integers(-40, 40))
def test_whole_costs_keep_whole_numbers_in_exact_proportion(costs: list[int], exponent: int) -> None:
    scaled = np.array(costs, dtype=np.float64) * 2.0**exponent
    whole = whole_costs(scaled, largest=float(scaled.max()), rows=len(costs)).tolist()
    assert sum(whole) < 2**61
    assert all(one * sum(costs) == cost * sum(whole) for one, cost in zip(whole, costs, strict=True))
