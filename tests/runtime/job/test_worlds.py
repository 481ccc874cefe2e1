"""Which ranks a successor has, where they are, and what share of the rows each is to have."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from flexmpi.runtime.job.worlds import in_steps, place_holders, places_after, weights_after

nodes = st.sampled_from(["a", "b", "c", "d"])
worlds = st.lists(nodes, min_size=1, max_size=8)


@st.composite
def changes(draw: st.DrawFn) -> tuple[list[str], dict[str, int]]:
    present = draw(worlds)
    counts = Counter(present)
    wanted = draw(st.dictionaries(nodes, st.integers(-3, 3)))
    return present, {node: max(change, -counts[node]) for node, change in wanted.items()}


@given(changes())
def test_a_successor_has_as_many_ranks_on_each_node_as_are_wanted_those_of_a_node_together(
    change: tuple[list[str], dict[str, int]],
) -> None:
    present, wanted = change
    places = places_after(present, wanted)
    assert Counter(places) == +(Counter(present) + Counter({n: c for n, c in wanted.items() if c > 0}) - Counter(
        {n: -c for n, c in wanted.items() if c < 0}
    ))  # fmt: skip
    assert len(list(dict.fromkeys(places))) == sum(one != two for one, two in pairwise(places)) + bool(places)
    kept = [node for node in dict.fromkeys(present) if node in places]
    assert list(dict.fromkeys(places))[: len(kept)] == kept, "nodes keep their order, and new ones come last"


def test_a_nodes_ranks_take_the_places_of_those_before_them_and_the_last_are_new() -> None:
    assert place_holders(["a", "b", "b"], ["a", "a", "b", "b", "c"]) == [0, None, 1, 2, None]
    assert place_holders(["a", "b"], ["b"]) == [1]


def test_where_no_node_would_be_common_ranks_are_added_first() -> None:
    assert in_steps(["a", "a"], {"a": -2, "b": 1}) == [{"b": 1}, {"a": -2}]
    assert in_steps(["a", "a"], {"a": -1, "b": 1}) == [{"a": -1, "b": 1}]
    assert in_steps(["a", "b"], {"a": -1}) == [{"a": -1}]
    assert in_steps(["a"], {}) == [{}]


def test_ranks_have_the_weights_of_those_before_them_on_their_node_and_others_their_nodes_speed() -> None:
    speeds = {"a": 10.0, "b": 20.0, "c": 30.0}
    weights = weights_after(["a", "a", "b"], [1.0, 2.0, 3.0], ["a", "b", "b", "c"], speeds.__getitem__)
    assert weights == (1.0, 3.0, 20.0, 30.0)
