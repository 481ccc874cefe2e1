from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flexmpi.cluster.platform import Node
from flexmpi.errors import CommandError, ConfigurationError
from flexmpi.runtime.job.placement import initial_placement, resolve_changes

bounded = settings(derandomize=True, deadline=None, max_examples=200)


def nodes_of(*cores: int) -> list[Node]:
    return [Node(f"c{i}", count, f"n{i}") for i, count in enumerate(cores, start=1)]


def place(nodes: list[Node], **options: Any) -> dict[str, int]:
    defaults: dict[str, Any] = {
        "processes": None,
        "minimum_nodes": 1,
        "maximum_nodes": None,
        "processes_per_node": None,
        "rankfile": None,
    }
    return initial_placement(nodes, **{**defaults, **options})


def change(nodes: list[Node], occupied: Mapping[str, int], *changes: tuple[str, int], **bounds: int) -> dict[str, int]:
    limits = {"minimum_nodes": 1, "maximum_nodes": len(nodes), **bounds}
    return resolve_changes(
        nodes, occupied, changes, minimum_nodes=limits["minimum_nodes"], maximum_nodes=limits["maximum_nodes"]
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [("c1", 1)]),
        ({"minimum_nodes": 2}, [("c1", 1), ("c2", 1)]),
        ({"minimum_nodes": 2, "processes_per_node": 3}, [("c1", 3), ("c2", 3)]),
        ({"processes": 2}, [("c1", 2)]),
        ({"processes": 6}, [("c1", 4), ("c2", 2)]),
        ({"processes": 6, "minimum_nodes": 2}, [("c1", 4), ("c2", 2)]),
        ({"processes": 5, "processes_per_node": 2}, [("c1", 2), ("c2", 2), ("c3", 1)]),
        ({"processes": 10, "processes_per_node": 9}, [("c1", 4), ("c2", 4), ("c3", 2)]),
        ({"processes": 4, "minimum_nodes": 2}, [("c1", 2), ("c2", 2)]),
        ({"processes": 5, "minimum_nodes": 3}, [("c1", 2), ("c2", 2), ("c3", 1)]),
        ({"rankfile": {"c3": 2, "c2": 0, "c1": 1}}, [("c3", 2), ("c1", 1)]),
        ({"rankfile": {"c1": 4}, "processes": 4, "processes_per_node": 1}, [("c1", 4)]),
    ],
)
def test_an_application_starts_on_the_first_nodes(options: dict[str, Any], expected: list[tuple[str, int]]) -> None:
    assert list(place(nodes_of(4, 4, 4), **options).items()) == expected


def test_spreading_leaves_to_others_what_a_small_node_cannot_take() -> None:
    assert place(nodes_of(8, 1, 8), processes=8, minimum_nodes=3) == {"c1": 4, "c2": 1, "c3": 3}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"processes": 0}, "processes must be 1 or more, got 0"),
        ({"processes_per_node": 0}, "processes per node must be 1 or more, got 0"),
        ({"minimum_nodes": 0}, "minimum number of nodes must be 1 or more, got 0"),
        ({"minimum_nodes": 4}, "minimum number of nodes must be at most the 3 there are, got 4"),
        (
            {"minimum_nodes": 2, "maximum_nodes": 1},
            "maximum number of nodes must be at least the minimum of 2, got 1",
        ),
        ({"processes_per_node": 5}, "processes per node must be at most the 4 cores of c1, got 5"),
        ({"processes": 13}, "processes must be at most the 12 that 3 nodes can hold, got 13"),
        ({"processes": 7, "processes_per_node": 2}, "processes must be at most the 6 that 3 nodes can hold, got 7"),
        ({"processes": 1, "minimum_nodes": 2}, "processes must be at least 1 on each of 2 nodes, got 1"),
        ({"processes": 9, "maximum_nodes": 2}, "9 processes take 3 nodes, more than the maximum of 2"),
        ({"rankfile": {"c1": 0}}, "rankfile: it starts no rank at all, expected 1 or more"),
        (
            {"rankfile": {"c1": 2}, "processes": 3},
            "rankfile: ranks must add up to the 3 processes asked for, got 2",
        ),
        ({"rankfile": {"c1": 2}, "minimum_nodes": 2}, "rankfile: at least 2 nodes must have ranks, got 1 node"),
        (
            {"rankfile": {"c1": 1, "c2": 1}, "maximum_nodes": 1, "file": "rankfile r"},
            "rankfile r: 2 processes take 2 nodes, more than the maximum of 1",
        ),
    ],
)
def test_an_impossible_start_is_refused_with_the_numbers(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        place(nodes_of(4, 4, 4), **options)
    assert str(caught.value) == expected


@bounded
@given(
    cores=st.lists(st.integers(1, 8), min_size=1, max_size=6),
    processes=st.integers(1, 48),
    minimum=st.integers(1, 6),
    per_node=st.none() | st.integers(1, 9),
)
def test_a_start_has_all_its_ranks_within_the_cores(
    cores: list[int], processes: int, minimum: int, per_node: int | None
) -> None:
    nodes = nodes_of(*cores)
    limits = {node.name: min(node.cores, per_node or node.cores) for node in nodes}
    assume(minimum <= len(nodes) and minimum <= processes <= sum(limits.values()))
    placement = place(nodes, processes=processes, minimum_nodes=minimum, processes_per_node=per_node)
    assert sum(placement.values()) == processes
    assert all(0 < ranks <= limits[name] for name, ranks in placement.items())
    assert list(placement) == [node.name for node in nodes][: len(placement)]
    assert len(placement) >= minimum


@bounded
@given(limits=st.lists(st.integers(1, 8), min_size=2, max_size=6), data=st.data())
def test_spread_ranks_differ_by_more_than_one_only_where_a_node_is_full(limits: list[int], data: st.DataObject) -> None:
    processes = data.draw(st.integers(len(limits), sum(limits)))
    assume(sum(limits[:-1]) >= processes)  # filling would leave out the last node
    placement = place(nodes_of(*limits), processes=processes, minimum_nodes=len(limits))
    most = max(placement.values())
    assert all(ranks >= most - 1 or ranks == limit for ranks, limit in zip(placement.values(), limits, strict=True))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([("n1", 2)], [("c1", 2)]),
        ([("c1", 2)], [("c1", 2)]),
        ([("localhost", 1)], [("c1", 1)]),
        ([("n1", 1), ("c1", 1)], [("c1", 2)]),
        ([("n3", 3), ("n2", 1), ("n1", 2)], [("c1", 2), ("c2", 1), ("c3", 3)]),
        ([("n1", -1)], [("c1", -1)]),
        ([("n1", -2), ("n2", 2)], [("c1", -2), ("c2", 2)]),
        ([("n1", 0), ("n2", 1)], [("c2", 1)]),
        ([("n2", -1), ("c2", 2)], [("c2", 1)]),
    ],
)
def test_changes_are_resolved_to_nodes(changes: list[tuple[str, int]], expected: list[tuple[str, int]]) -> None:
    assert list(change(nodes_of(4, 4, 4), {"c1": 2}, *changes).items()) == expected


CLASS = [Node("a1", 4, "a"), Node("b1", 4, "b"), Node("a2", 4, "a"), Node("a3", 4, "a")]


@pytest.mark.parametrize(
    ("occupied", "changes", "expected"),
    [
        ({"a1": 2}, [("a", 3)], {"a1": 2, "a2": 1}),
        ({"a1": 4, "a2": 4}, [("a", 1)], {"a3": 1}),
        ({"a1": 2, "a2": 2}, [("a", -3)], {"a2": -2, "a1": -1}),
        ({"a1": 2}, [("a", -1)], {"a1": -1}),
        ({"a1": 3}, [("a", 1), ("a1", 1)], {"a1": 1, "a2": 1}),
        ({"a1": 2}, [("a1", -2), ("a", 2)], {"a1": -2, "a2": 2}),
        ({"a1": 2, "a3": 1}, [("a", -2), ("a3", 2)], {"a1": -2, "a3": 2}),
        ({"a1": 2}, [("a", -2), ("b", 2)], {"a1": -2, "b1": 2}),
        ({"a1": 6}, [("a", 8)], {"a2": 4, "a3": 4}),
    ],
)
def test_a_class_grows_from_its_first_node_and_shrinks_from_its_last(
    occupied: dict[str, int], changes: list[tuple[str, int]], expected: dict[str, int]
) -> None:
    assert change(CLASS, occupied, *changes) == expected


@pytest.mark.parametrize(
    ("occupied", "changes", "bounds", "expected"),
    [
        ({"a1": 2}, [("c", 1)], {}, "no node or alias 'c', expected one of a, b"),
        ({"a1": 2}, [("b", 5)], {}, "cannot add 5 ranks to b, free cores there: 4 (4 on b1)"),
        ({"a1": 2, "a2": 4}, [("a", 7)], {}, "cannot add 7 ranks to a, free cores there: 6 (2 on a1, 4 on a3)"),
        ({"b1": 4}, [("b", 1)], {}, "cannot add 1 rank to b, free cores there: 0"),
        ({"a1": 2, "a2": 1}, [("a", -4)], {}, "cannot remove 4 ranks from a, ranks there: 3 (1 on a2, 2 on a1)"),
        ({"a1": 2}, [("b1", -1)], {}, "cannot remove 1 rank from b1, ranks there: 0"),
        ({"a1": 2}, [("a", -2)], {}, "the change would leave no rank at all, expected 1 or more to stay"),
        (
            {"a1": 2, "b1": 1},
            [("b", -1)],
            {"minimum_nodes": 2},
            "the change would leave ranks on 1 node, below the minimum of 2",
        ),
        (
            {"a1": 2},
            [("b", 1), ("a3", 1)],
            {"maximum_nodes": 2},
            "the change would put ranks on 3 nodes, above the maximum of 2",
        ),
        ({"a1": 2}, [], {}, "nothing to change: the numbers of ranks to add and remove come to 0 on every node"),
        (
            {"a1": 2},
            [("a", 0)],
            {},
            "nothing to change: the numbers of ranks to add and remove come to 0 on every node",
        ),
        (
            {"a1": 2},
            [("a1", 1), ("a1", -1)],
            {},
            "nothing to change: the numbers of ranks to add and remove come to 0 on every node",
        ),
    ],
)
def test_an_impossible_change_is_refused_with_the_numbers(
    occupied: dict[str, int], changes: list[tuple[str, int]], bounds: dict[str, int], expected: str
) -> None:
    with pytest.raises(CommandError) as caught:
        change(CLASS, occupied, *changes, **bounds)
    assert str(caught.value) == expected


def test_ranks_on_a_node_that_is_no_longer_listed_count_for_the_bounds() -> None:
    with pytest.raises(CommandError, match="ranks on 3 nodes, above the maximum of 2"):
        change(CLASS, {"a1": 2, "gone": 1}, ("b", 1), maximum_nodes=2)
    assert change(CLASS, {"a1": 2, "gone": 1}, ("a", -2)) == {"a1": -2}


def test_a_refusal_stays_short_on_a_large_class() -> None:
    nodes = [Node(f"c{i}", 1, "all") for i in range(100)]
    with pytest.raises(CommandError, match=r"free cores there: 99 \(1 on c1, .*, 1 on c8 and 91 nodes more\)$"):
        change(nodes, {"c0": 1}, ("all", 100))


@st.composite
def commands(draw: st.DrawFn) -> tuple[list[Node], dict[str, int], list[tuple[str, int]]]:
    cores = draw(st.lists(st.integers(1, 6), min_size=1, max_size=5))
    nodes = [Node(f"c{i}", count, draw(st.sampled_from("xyz"))) for i, count in enumerate(cores)]
    occupied = {node.name: draw(st.integers(0, node.cores)) for node in nodes}
    assume(any(occupied.values()))
    names = st.sampled_from([node.name for node in nodes] + [node.alias for node in nodes])
    return nodes, occupied, draw(st.lists(st.tuples(names, st.integers(-4, 4)), max_size=4))


@bounded
@given(command=commands(), minimum=st.integers(1, 2), maximum=st.integers(2, 5))
def test_a_change_holds_cores_ranks_total_and_bounds(
    command: tuple[list[Node], dict[str, int], list[tuple[str, int]]], minimum: int, maximum: int
) -> None:
    nodes, occupied, changes = command
    try:
        net = change(nodes, occupied, *changes, minimum_nodes=minimum, maximum_nodes=maximum)
    except CommandError:
        return
    after = {node.name: occupied[node.name] + net.get(node.name, 0) for node in nodes}
    assert all(0 <= after[node.name] <= node.cores for node in nodes)
    assert sum(net.values()) == sum(delta for _, delta in changes)
    assert minimum <= sum(1 for ranks in after.values() if ranks) <= maximum
    assert net
    assert 0 not in net.values()
    assert list(net) == [node.name for node in nodes if node.name in net]


@bounded
@given(command=commands(), data=st.data())
def test_the_order_of_the_pairs_does_not_matter(
    command: tuple[list[Node], dict[str, int], list[tuple[str, int]]], data: st.DataObject
) -> None:
    nodes, occupied, changes = command
    assert outcome(nodes, occupied, changes) == outcome(nodes, occupied, data.draw(st.permutations(changes)))


@bounded
@given(command=commands())
def test_a_change_within_the_free_cores_or_ranks_is_carried_out(
    command: tuple[list[Node], dict[str, int], list[tuple[str, int]]],
) -> None:
    nodes, occupied, _ = command
    for alias in {node.alias for node in nodes}:
        members = [node for node in nodes if node.alias == alias]
        free = sum(node.cores - occupied[node.name] for node in members)
        present = sum(occupied[node.name] for node in members)
        if free:
            assert sum(change(nodes, occupied, (alias, free)).values()) == free
        if 0 < present < sum(occupied.values()):
            assert sum(change(nodes, occupied, (alias, -present)).values()) == -present


def outcome(
    nodes: list[Node], occupied: dict[str, int], changes: list[tuple[str, int]]
) -> list[tuple[str, int]] | None:
    try:
        return list(change(nodes, occupied, *changes).items())
    except CommandError:
        return None
