from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.cluster.platform import Node
from flexmpi.controller.allocation import allocate, listed, overcommitted, resize, total, withdraw
from flexmpi.errors import CommandError

NODES = tuple(Node(f"c{number}", 4, f"c{number}") for number in (1, 2, 3))


def test_free_cores_are_filled_in_the_order_of_the_nodes() -> None:
    assert allocate(NODES, 6, occupied={"c1": 3}) == {"c1": 1, "c2": 4, "c3": 1}


def test_nodes_that_the_application_uses_already_come_first() -> None:
    assert allocate(NODES, 4, occupied={"c1": 1, "c2": 2}, own={"c2": 2}) == {"c1": 2, "c2": 2}


def test_nodes_are_shared_only_when_no_core_is_free_and_never_beyond_their_cores_for_one_application() -> None:
    assert allocate(NODES, 5, occupied={"c1": 4, "c2": 4, "c3": 2}, own={"c1": 1}) == {"c1": 3, "c3": 2}
    assert allocate(NODES, 11, occupied={"c1": 4}, own={"c1": 1}) == {"c1": 3, "c2": 4, "c3": 4}
    with pytest.raises(CommandError, match="no room for 12 ranks: an application can have 11 more on these nodes"):
        allocate(NODES, 12, occupied={"c1": 4}, own={"c1": 1})


def test_ranks_are_withdrawn_from_the_last_nodes_and_one_stays() -> None:
    assert withdraw(NODES, 3, own={"c1": 2, "c3": 2}) == {"c3": 2, "c1": 1}
    with pytest.raises(CommandError, match="cannot remove 4 ranks of 4: one must stay"):
        withdraw(NODES, 4, own={"c1": 2, "c3": 2})


def test_a_change_of_ranks_is_one_of_nodes() -> None:
    assert resize(NODES, 2, occupied={"c1": 3}, own={"c1": 3}) == {"c1": 1, "c2": 1}
    assert resize(NODES, -2, occupied={"c1": 3}, own={"c1": 3}) == {"c1": -2}


def test_nodes_with_more_ranks_than_cores_are_named() -> None:
    occupied = total([{"c1": 3}, {"c1": 2, "c2": 4}])
    assert occupied == {"c1": 5, "c2": 4}
    assert overcommitted(NODES, occupied) == ["c1 has 4 cores for 5 ranks of all applications together"]
    assert listed(occupied) == "c1:5,c2:4"


CORES = st.lists(st.integers(1, 6), min_size=1, max_size=5)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(CORES, st.data())
def test_an_allocation_is_complete_within_the_cores_and_shares_no_node_while_cores_are_free(
    cores: list[int], data: st.DataObject
) -> None:
    nodes = [Node(f"c{number}", count, "all") for number, count in enumerate(cores)]
    own = {node.name: data.draw(st.integers(0, node.cores)) for node in nodes}
    occupied = {node.name: own[node.name] + data.draw(st.integers(0, 6)) for node in nodes}
    room = sum(cores) - sum(own.values())
    count = data.draw(st.integers(0, room))
    given_ranks = allocate(nodes, count, occupied=occupied, own=own)
    assert sum(given_ranks.values()) == count
    over = 0
    for node in nodes:
        ranks = given_ranks.get(node.name, 0)
        assert own[node.name] + ranks <= node.cores
        over += max(0, ranks - max(0, node.cores - occupied[node.name]))
    free = sum(max(0, node.cores - occupied[node.name]) for node in nodes)
    assert over == max(0, count - free)
