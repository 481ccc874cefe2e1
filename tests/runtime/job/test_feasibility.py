"""Changes of ranks where the provider chooses the nodes: what is known at once, and what is left open."""

from __future__ import annotations

import pytest

from flexmpi.cluster.platform import Node
from flexmpi.errors import CommandError
from flexmpi.runtime.job.feasibility import resolve
from flexmpi.runtime.job.grant import Grant
from flexmpi.runtime.job.options import Limits

NODES = tuple(Node(name, 2, alias=name) for name in ("node0", "node1", "node2"))


def change(*changes: tuple[str, int], occupied: dict[str, int]) -> dict[str, int]:
    limits = Limits(minimum_nodes=1, maximum_nodes=3)
    return resolve(changes, occupied, nodes=NODES, limits=limits, grant=Grant(None), on_demand=True)


def test_ranks_added_to_any_go_to_a_new_node_and_ranks_removed_from_it_leave_the_last():
    assert change(("any", 2), occupied={"node0": 1}) == {"any": 2}
    assert change(("any", -1), occupied={"node0": 1, "node2": 1}) == {"node2": -1}


def test_whose_ranks_leave_is_left_open_while_a_node_is_still_to_come():
    assert change(("any", -1), occupied={"node0": 1, "any": 1}) == {"any": -1}
    assert change(("any", -1), ("node1", 1), occupied={"node0": 1, "any": 2}) == {"any": -1, "node1": 1}
    with pytest.raises(CommandError, match="would leave no rank at all"):
        change(("any", -3), occupied={"node0": 1, "any": 2})


def test_a_node_to_come_counts_as_one_of_those_the_job_may_have():
    with pytest.raises(CommandError, match="may have 3 nodes at most"):
        change(("any", 1), occupied={"node0": 1, "node1": 1, "any": 1})


def test_each_any_with_ranks_to_add_is_another_node():
    assert change(("any", 1), ("any", 2), occupied={"node0": 1}) == {"any": 1, "any#2": 2}
    assert change(("any", 1), ("node1", 1), occupied={"node0": 1}) == {"any": 1, "node1": 1}
    with pytest.raises(CommandError, match="may have 3 nodes at most"):
        change(("any", 1), ("any", 1), ("any", 1), occupied={"node0": 1})
    with pytest.raises(CommandError, match="3 ranks do not fit on one new node"):
        change(("any", 1), ("any", 3), occupied={"node0": 1})


def test_nodes_to_come_are_the_same_when_their_turn_comes():
    assert change(("any", 1), ("any#2", 2), occupied={"node0": 1}) == {"any": 1, "any#2": 2}
    with pytest.raises(CommandError, match="may have 3 nodes at most"):
        change(("any", 1), occupied={"node0": 1, "any": 1, "any#2": 1})
