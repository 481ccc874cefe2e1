"""Single values as people read them."""

from __future__ import annotations

import pytest

from flexmpi.cli.fields import NODE_FIELDS, cost_in_words, duration, group_nodes, size
from flexmpi.cli.tables import choose
from flexmpi.protocol.messages import Cost
from flexmpi.protocol.replies import JobRow, NodeRow


def job(held: int, least: int, most: int) -> JobRow:
    return JobRow(
        job="1", name="a", uid=1, user="u", state="running", elastic=True, node_hours=0.0,
        nodes=tuple(f"n{number}" for number in range(held)), minimum_nodes=least, maximum_nodes=most,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("held", "least", "most", "shown"),
    [(3, 1, 6, "3 (1-6)"), (0, 1, 6, "0 (1-6)"), (3, 3, 3, "3"), (0, 3, 3, "0 (3)"), (1, 1, 2, "1 (1-2)")],
)
def test_a_size_is_the_nodes_held_and_the_range_where_there_is_one(
    held: int, least: int, most: int, shown: str
) -> None:
    assert size(job(held, least, most)) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0, "0.0 ms"),
        (0.00042, "0.4 ms"),
        (0.003, "3.0 ms"),
        (0.00996, "10 ms"),
        (0.0184, "18 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.00 s"),
        (1.986, "1.99 s"),
        (9.996, "10.0 s"),
        (10.0, "10.0 s"),
        (123.456, "123.5 s"),
    ],
)
def test_times_have_the_digits_that_matter(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_a_cost_is_the_parts_that_were_measured() -> None:
    cost = Cost(start_s=0.3, join_s=0.011, balance_s=0, move_s=0.003, part_s=0, stall_s=0.018, moved_bytes=1_200_000)
    assert cost_in_words(cost) == " (join 11 ms, move 3.0 ms, stall 18 ms, 1.2 MB)"
    nobody_joined = cost.model_copy(update={"start_s": None, "join_s": 0.0, "moved_bytes": 0})
    assert cost_in_words(nobody_joined) == " (move 3.0 ms, stall 18 ms, 0 bytes)"
    assert cost_in_words(None) == ""


def test_nodes_are_alike_in_what_is_shown_only() -> None:
    rows = [NodeRow(node=f"n{number}", cores=number % 2, states=("idle",)) for number in range(4)]
    grouped = group_nodes(rows, choose(NODE_FIELDS, "node,cores,state"))
    assert [group.nodes for group in grouped] == [("n0", "n2"), ("n1", "n3")]
    assert [group.nodes for group in group_nodes(rows, choose(NODE_FIELDS, "node,state,count"))] == [
        ("n0", "n1", "n2", "n3")
    ]
    assert group_nodes([], NODE_FIELDS) == []
