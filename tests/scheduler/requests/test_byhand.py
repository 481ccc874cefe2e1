"""What people want of a job's size: which nodes that means, also while other orders are not over."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.errors import CommandError
from flexmpi.protocol.requests import Expand, Shrink
from flexmpi.scheduler.deciding.elastic import Decision, ElasticJob, View
from flexmpi.scheduler.requests.byhand import as_after, expansion, now_of, shrinking, takes_back
from tests.scheduler.deciding.policies.test_policies import NODES, job, view


def expand(**fields: Any) -> Expand:
    return Expand(job="1", credential="-", **fields)


def shrink(**fields: Any) -> Shrink:
    return Shrink(job="1", credential="-", **fields)


GROWING = job("a", NODES[:2], joining=NODES[2:4])


def test_a_shrink_leaves_what_has_not_come_yet_before_what_came_last() -> None:
    assert shrinking(shrink(count=2), GROWING).leave == (NODES[3], NODES[2])
    assert shrinking(shrink(count=3), GROWING).leave == (NODES[3], NODES[2], NODES[1])
    assert shrinking(shrink(count=1), job("a", NODES[:3])).leave == (NODES[2],)


def test_growth_is_taken_back_only_for_a_shrink_that_leaves_all_it_gives() -> None:
    for leaves, taken in ((NODES[2:4], True), (NODES[1:4], True), (NODES[3:4], False), (NODES[1:2], False)):
        assert takes_back(shrinking(shrink(nodes=leaves), GROWING), GROWING.joining) is taken
    assert not takes_back(None, GROWING.joining)
    assert not takes_back(Decision(key="a", leave=NODES[1:2]), ())
    assert not takes_back(Decision(key="a", add=NODES[2:4]), GROWING.joining)


@pytest.mark.parametrize(
    ("request_", "seen", "why"),
    [
        (shrink(count=4), GROWING, "the job can leave 3 nodes"),
        (shrink(count=3), job("a", NODES[:2], low=2, joining=NODES[2:4]), "needs 2 at least"),
        (shrink(nodes=NODES[:1]), GROWING, "node0 is the node that the job cannot leave"),
        (shrink(nodes=NODES[5:6]), GROWING, r"does not hold node5, it holds node\[0-1\]"),
        (shrink(nodes=NODES[1:2]), job("a", NODES[:2], leaving=NODES[1:2]), "is leaving node1 already"),
        (expand(nodes=NODES[1:2]), job("a", NODES[:2], leaving=NODES[1:2]), "is leaving node1 just now"),
        (expand(nodes=NODES[2:3]), GROWING, "is getting node2 already"),
        (expand(nodes=NODES[1:2]), GROWING, "has node1 already"),
        (expand(count=4), replace(GROWING, suitable=frozenset(NODES[:6])), "4 nodes wanted, 2 nodes free"),
        (expand(count=1), job("a", NODES[:2], high=4, joining=NODES[2:4]), "has 4 nodes and may have 4 at most"),
    ],
)
def test_what_is_not_possible_once_all_orders_are_over_is_refused(
    request_: Expand | Shrink, seen: ElasticJob, why: str
) -> None:
    with pytest.raises(CommandError, match=why):
        _ = (
            expansion(request_, seen, view(seen, free=NODES[4:]))
            if isinstance(request_, Expand)
            else shrinking(request_, seen)
        )


@pytest.mark.parametrize(("allowed", "more"), [(0, "no node"), (1, "1 node")])
def test_growth_beyond_the_sites_limits_is_refused_with_what_they_allow(allowed: int, more: str) -> None:
    limited = replace(job("a", NODES[:1]), extra_allowed=allowed)
    with pytest.raises(CommandError, match=f"^the site's limits allow it {more} more$"):
        expansion(expand(count=2), limited, view(limited, free=NODES[1:]))


def test_who_asks_next_is_given_other_nodes_than_who_waits() -> None:
    waiting = [Decision(key="a", add=NODES[4:6]), Decision(key="a", leave=NODES[1:2])]
    then = as_after(GROWING, waiting)
    assert then.size == 5
    assert expansion(expand(count=2), then, view(GROWING, free=NODES[4:])).add == NODES[6:8]
    assert shrinking(shrink(count=2), then).leave == (NODES[5], NODES[4])


def test_growth_whose_turn_has_come_gets_what_is_free_then_and_nodes_that_were_named_or_none() -> None:
    seen = job("a", NODES[:2])
    later = view(seen, free=NODES[5:7])
    first = Decision(key="a", add=NODES[2:4])
    chosen = now_of(expand(count=2), first, seen, later)
    assert chosen is not None and chosen.add == NODES[5:7]
    with pytest.raises(CommandError, match="node2 is not free"):
        now_of(expand(nodes=NODES[2:4]), first, seen, later)


@settings(derandomize=True, max_examples=100)
@given(
    held=st.integers(1, 4),
    coming=st.integers(0, 3),
    comes=st.booleans(),
    count=st.integers(1, 6),
    low=st.integers(1, 3),
)
def test_a_shrink_comes_to_the_same_nodes_whether_growth_before_it_was_taken_back_or_not(
    held: int, coming: int, comes: bool, count: int, low: int
) -> None:
    before = job("a", NODES[:held], low=min(low, held), joining=NODES[held : held + coming])
    try:
        decision = shrinking(shrink(count=count), before)
    except CommandError:
        return
    taken_back = not comes and takes_back(decision, before.joining)
    after = job("a", NODES[:held] if taken_back else NODES[: held + coming], low=min(low, held))
    left = now_of(shrink(count=count), decision, after, View(now=0.0, jobs=(after,)))
    kept = [node for node in after.held if left is None or node not in left.leave]
    assert kept == [node for node in before.keeps if node not in decision.leave]
    assert len(kept) >= before.minimum_nodes
