"""What a job may use: its own nodes, those it was lent, and no others."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.cluster.platform import Node
from flexmpi.errors import CommandError
from flexmpi.runtime.job.feasibility import resolve
from flexmpi.runtime.job.grant import Grant
from flexmpi.runtime.job.options import Limits

NODES = (Node("a", 4, "big"), Node("b", 2, "small"), Node("c", 2, "small"))
NAMES = [node.name for node in NODES]
some = st.sets(st.sampled_from(NAMES))


def names(nodes: tuple[Node, ...]) -> list[str]:
    return [node.name for node in nodes]


def change(
    grant: Grant, *changes: tuple[str, int], occupied: dict[str, int], given: tuple[str, ...] = ()
) -> dict[str, int]:
    limits = Limits(minimum_nodes=1, maximum_nodes=3)
    return resolve(changes, occupied, nodes=NODES, limits=limits, grant=grant, given=given)


def test_without_a_manager_every_node_may_be_used_and_none_is_the_jobs_for_that() -> None:
    free = Grant(None)
    assert (names(free.usable(NODES)), free.nodes) == (NAMES, ())
    free.settle(given=("b",), left=("a",), used=())
    assert (names(free.usable(NODES)), free.nodes) == (NAMES, ())


def test_ranks_go_where_the_job_has_nodes() -> None:
    grant = Grant(["a", "b"])
    assert change(grant, ("small", 1), occupied={"a": 1}) == {"b": 1}
    assert change(grant, ("lhost", 2), occupied={"a": 1}) == {"a": 2}
    assert change(grant, ("any", 4), occupied={"a": 1}) == {"a": 3, "b": 1}
    with pytest.raises(CommandError, match=r"^cannot add 3 ranks to small, free cores there: 2 \(2 on b\)$"):
        change(grant, ("small", 3), occupied={"a": 1})


def test_a_node_of_others_is_refused_unless_it_is_given() -> None:
    grant = Grant(["a"])
    for name in ("c", "small"):
        why = f"^{name} is not a node of this job, which has a: only the agent gives it others$"
        with pytest.raises(CommandError, match=why):
            change(grant, (name, 1), occupied={"a": 1})
    with pytest.raises(CommandError, match=r"^no node or alias 'd'"):
        change(grant, ("d", 1), occupied={"a": 1})
    assert change(grant, ("c", 1), occupied={"a": 1}, given=("c",)) == {"c": 1}


def test_what_was_lent_is_given_back_when_no_rank_is_there_and_what_is_its_own_stays() -> None:
    grant = Grant(["a", "b"])
    grant.settle(given=("c",), left=(), used={"a", "b", "c"})
    assert grant.nodes == ("a", "b", "c")
    grant.settle(given=(), left=(), used={"a"})
    assert grant.nodes == ("a", "b")


def test_what_the_agent_takes_is_the_jobs_no_more_until_it_is_lent() -> None:
    grant = Grant(["a", "b"])
    grant.settle(given=(), left=("b",), used={"a"})
    assert grant.nodes == ("a",)
    grant.settle(given=("b",), left=(), used={"a", "b"})
    assert grant.nodes == ("a", "b")
    grant.settle(given=(), left=(), used={"a"})
    assert grant.nodes == ("a",)


@given(st.lists(st.tuples(some, some, some), max_size=6))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_a_node_is_the_jobs_only_by_its_manager_or_the_agent(steps: list[tuple[set[str], set[str], set[str]]]) -> None:
    grant, ever = Grant(["a"]), {"a"}
    for add, leave, used in steps:
        grant.settle(given=add - leave, left=leave, used=used)
        ever |= add
        assert set(grant.nodes) <= ever
        assert len(set(grant.nodes)) == len(grant.nodes)
        assert not (set(grant.nodes) & leave - used)
        assert set(names(grant.usable(NODES))) == set(grant.nodes)
