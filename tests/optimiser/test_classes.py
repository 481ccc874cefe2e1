"""Combinations of ranks on classes of nodes, against trying everything."""

from __future__ import annotations

from itertools import product
from math import ceil

import pytest

from flexmpi.optimiser import Combination, NodeClass, Search, combine
from flexmpi.optimiser.program import Outcome, Status

FAST = NodeClass(nodes=2, cores=4, speed=3.0, rank_rate=10.0)
SLOW = NodeClass(nodes=3, cores=2, speed=1.0, rank_rate=2.0)
ODD = NodeClass(nodes=2, cores=3, speed=2.0, rank_rate=5.0, node_rate=4.0)


def rate_and_speed(search: Search, combination: Combination) -> tuple[float, float]:
    rate = speed = 0.0
    for known, ranks, nodes in zip(search.classes, combination.ranks, combination.nodes, strict=True):
        rate += ranks * known.rank_rate + nodes * known.node_rate
        speed += ranks * known.speed
    return rate, speed


def undominated(search: Search, total: int) -> set[tuple[float, float]]:
    """Rates and speeds of all combinations of so many ranks of which no other is cheaper and faster, by trying everything."""
    possible = set()
    for ranks in product(*(range(known.nodes * known.cores + 1) for known in search.classes)):
        least = [max(known.required, ceil(r / known.cores)) for known, r in zip(search.classes, ranks, strict=True)]
        most = [min(known.nodes, r) for known, r in zip(search.classes, ranks, strict=True)]
        if sum(ranks) != total or any(low > high for low, high in zip(least, most, strict=True)):
            continue
        for nodes in product(*(range(low, high + 1) for low, high in zip(least, most, strict=True))):
            if search.minimum_nodes <= sum(nodes) <= search.maximum_nodes:
                possible.add(rate_and_speed(search, Combination(ranks, nodes)))
    return {
        (rate, speed)
        for rate, speed in possible
        if not any(other != (rate, speed) and other[0] <= rate and other[1] >= speed for other in possible)
    }


@pytest.mark.parametrize(
    "search",
    [
        Search((FAST,), 1, 2, tuple(range(1, 9))),
        Search((FAST, SLOW), 1, 5, (1, 5, 8, 14)),
        Search((FAST, SLOW, ODD), 2, 4, (3, 6, 9)),
        Search((FAST, NodeClass(3, 2, 1.0, 2.0, required=1)), 1, 3, (1, 6, 10)),
        Search((FAST, SLOW), 1, 5, (15,)),
    ],
)
def test_the_combinations_are_those_of_which_no_other_is_cheaper_and_faster(search: Search):
    found, remark = combine(search, limit_s=20.0)
    assert remark == ""
    for total in search.ranks:
        of_total = [rate_and_speed(search, each) for each in found if sum(each.ranks) == total]
        assert len(of_total) == len(set(of_total))
        assert set(of_total) == undominated(search, total)
    for each in found:
        assert search.minimum_nodes <= sum(each.nodes) <= search.maximum_nodes
        for known, ranks, nodes in zip(search.classes, each.ranks, each.nodes, strict=True):
            assert known.required <= nodes <= known.nodes
            assert nodes <= ranks <= nodes * known.cores


def test_nodes_without_a_price_are_compared_by_their_speed():
    free = [NodeClass(2, 2, speed, 0.0) for speed in (1.0, 2.0)]
    found, _ = combine(Search(tuple(free), 1, 4, (5,)), limit_s=10.0)
    assert found == [Combination((1, 4), (1, 2))]


def test_what_the_solver_did_not_come_to_is_said():
    search = Search((FAST,), 1, 2, (1, 2))
    answers = [
        [Outcome(Status.OPTIMAL, (1.0, 1.0)), Outcome(Status.INFEASIBLE)],
        [Outcome(Status.UNKNOWN, remark="over")],
    ]
    assert combine(search, limit_s=1.0, solve_chains=lambda programs, step, limit_s: answers) == (
        [Combination((1,), (1,))],
        "over",
    )
