"""Which nodes are alike, and where ranks come and go."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.cluster.platform import ANY_NODE, Node
from flexmpi.runtime.prediction.node_classes import changes_to, class_names, classes_of

PLATFORM = (Node("a", 4, "fast", cost=2.0), Node("b", 4, "fast", cost=2.0), Node("c", 2, "slow"), Node("d", 2, "slow"))


def test_nodes_of_an_alias_are_one_class_where_they_are_alike():
    classes = classes_of([*PLATFORM, Node("e", 8, "slow")], on_demand=False, maximum_nodes=3)
    assert [(known.name, known.cores, known.available) for known in classes] == [
        ("fast", 4, 2),
        ("slow", 2, 2),
        ("slow/2", 8, 1),
    ]
    assert class_names(classes) == {"a": "fast", "b": "fast", "c": "slow", "d": "slow", "e": "slow/2"}


def test_where_nodes_come_on_demand_those_with_as_many_cores_are_alike_whatever_their_names():
    nodes = [Node(name, 16, alias=name) for name in ("n1", "n2", "n3")]
    (known,) = classes_of(nodes, on_demand=True, maximum_nodes=2)
    assert (known.name, known.available, known.cores) == ("16 cores", 2, 16)


def test_nodes_with_ranks_are_filled_before_others_and_emptied_from_the_last_one_on():
    classes = classes_of(PLATFORM, on_demand=False, maximum_nodes=4)
    assert changes_to(classes, {"b": 1}, [6, 0], on_demand=False) == {"b": 3, "a": 2}
    assert changes_to(classes, {"a": 4, "b": 2}, [3, 1], on_demand=False) == {"b": -2, "a": -1, "c": 1}
    assert changes_to(classes, {"a": 4, "b": 2}, [6, 0], on_demand=False) == {}


def test_one_new_node_at_a_time_where_they_come_on_demand():
    classes = classes_of([Node(name, 4, alias=name) for name in "abc"], on_demand=True, maximum_nodes=3)
    assert changes_to(classes, {"a": 2}, [12], on_demand=True) == {"a": 2, ANY_NODE: 4}
    assert changes_to(classes, {"a": 4, "b": 1}, [2], on_demand=True) == {"b": -1, "a": -2}


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=4, max_size=4), st.integers(0, 8), st.integers(0, 4))
def test_after_the_changes_each_class_has_what_was_wanted_and_no_node_more_than_its_cores(held, fast, slow):
    classes = classes_of(PLATFORM, on_demand=False, maximum_nodes=4)
    occupied = {node.name: min(count, node.cores) for node, count in zip(PLATFORM, held, strict=True) if count}
    after = dict(occupied)
    for node, change in changes_to(classes, occupied, [fast, slow], on_demand=False).items():
        assert change
        after[node] = after.get(node, 0) + change
    assert sum(after.get(name, 0) for name in "ab") == fast
    assert sum(after.get(name, 0) for name in "cd") == slow
    assert all(0 <= after.get(node.name, 0) <= node.cores for node in PLATFORM)
