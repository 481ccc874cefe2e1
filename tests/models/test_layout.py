"""Layouts: which ranks are alike, and the part of the rows that the fullest of them hold."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.models.layout import Layout, RankGroup
from flexmpi.runtime.arrays.distribution import Distribution
from tests.models.jobs import equal_ranks


def test_ranks_are_grouped_by_class_and_by_how_many_share_their_node():
    layout = Layout.of_ranks(["a", "a", "b", "c", "c"], ["x", "x", "x", "y", "y"], [1, 1, 1, 2, 4])
    assert layout.groups == (RankGroup("x", 1, 1), RankGroup("x", 1, 2), RankGroup("y", 1, 2, 3.0))
    assert (layout.ranks, layout.nodes, layout.power) == (5, 3, 9.0)


def test_the_order_of_ranks_and_the_names_of_nodes_make_no_other_layout():
    one = Layout.of_ranks(["a", "b", "b"], ["x", "x", "x"], [1, 1, 1])
    assert Layout.of_ranks(["n7", "n7", "n3"], ["x", "x", "x"], [1, 1, 1]) == one


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.integers(1, 60), st.integers(1, 9))
def test_the_largest_share_of_equal_ranks_is_that_of_the_real_distribution(rows, ranks):
    real = max(Distribution.by_weight(rows, [1.0] * ranks).counts)
    assert equal_ranks(ranks).largest_shares(rows) == [pytest.approx(real / rows)]


def test_where_rows_do_not_count_shares_are_exact():
    layout = Layout((RankGroup("slow", 1, 1, 1.0), RankGroup("fast", 1, 1, 2.0)))
    assert layout.largest_shares() == [pytest.approx(1 / 3), pytest.approx(2 / 3)]
    assert layout.largest_shares(9) == [pytest.approx(3 / 9), pytest.approx(6 / 9)]
