"""Who is who in an application while ranks join, leave and park."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.cluster.platform import Node
from flexmpi.runtime.job.roster import RankId, Roster, Waiting

ASLEEP = Waiting(0, 0, ())


def node(name: str, *, speed: float | None = None) -> Node:
    return Node(name, 4, name, 1.0, speed)


def running(*sizes: int) -> Roster:
    """Return an application with one process set of each size, each on a node of its own: n0, n1, …"""
    roster = Roster(tuple(node(f"n{number}") for number in range(len(sizes))))
    psets = [roster.add([f"n{number}"] * size) for number, size in enumerate(sizes)]
    roster.members = [rank for pset in psets for rank in pset.ranks]
    return roster


def test_members_are_counted_by_node() -> None:
    assert running(2, 1).occupied() == {"n0": 2, "n1": 1}


def test_members_whose_process_set_has_ended_are_on_no_node() -> None:
    roster = running(2, 1)
    roster.remove(0)
    assert roster.occupied() == {"n1": 1}


def test_a_process_set_that_has_ended_before_its_ranks_are_known_to_have_left_was_on_its_node() -> None:
    roster = running(2, 1)
    roster.prepared.add(roster.add(["n1"]).number)
    roster.remove(1)
    assert roster.node_of(roster.members[2]) == "n1"
    assert (roster.stays(1, leaving=(2,)), roster.stays(1, leaving=()), roster.stays(0, leaving=(1, 2))) == (
        False,
        True,
        True,
    )
    roster.change((2,), (), ())
    assert (roster.members, roster.prepared) == ([RankId(0, 0), RankId(0, 1)], set())


def test_the_last_to_come_on_a_node_leave_first() -> None:
    roster = running(2, 2)
    roster.change((), roster.add(["n0"]).ranks, (1,))
    assert roster.members == [RankId(0, 0), RankId(2, 0), RankId(0, 1), RankId(1, 0), RankId(1, 1)]
    assert roster.leavers({"n0": 2, "n1": 1}) == (1, 2, 4)


def test_ranks_park_while_their_process_set_has_a_member_left() -> None:
    roster = running(2, 2)
    assert roster.parking((1, 2, 3)) == (1,)
    assert roster.parking((0, 1, 2, 3)) == ()


def test_those_who_stay_keep_their_order_and_newcomers_take_their_places() -> None:
    roster = running(2, 2)
    newcomers = roster.add(["n1"] * 2).ranks
    roster.waiting[newcomers[0]] = ASLEEP
    roster.change((0, 2), newcomers, (0, 4))
    assert roster.members == [RankId(2, 0), RankId(0, 1), RankId(2, 1), RankId(1, 1)]
    assert roster.waiting == {}
    assert roster.retired == {RankId(0, 0), RankId(1, 0)}


def test_parked_ranks_are_reused_on_their_node_unless_a_join_has_spoiled_them() -> None:
    roster = running(3, 1)
    roster.change((1, 2), (), ())
    roster.waiting |= {RankId(0, 1): ASLEEP, RankId(0, 2): ASLEEP}
    assert roster.reusable("n0", 1) == [RankId(0, 1)]
    assert roster.reusable("n1", 2) == []
    roster.spoiled.add(RankId(0, 1))
    assert roster.reusable("n0", 2) == [RankId(0, 2)]


def test_a_process_set_without_members_is_idle() -> None:
    roster = running(1, 2)
    roster.change((0,), (), ())
    assert [pset.number for pset in roster.idle()] == [0]


def test_a_process_set_that_has_ended_leaves_no_trace() -> None:
    roster = running(2, 1)
    rank = RankId(0, 1)
    roster.change((0, 1), (), ())
    roster.waiting[rank], roster.pids[rank] = ASLEEP, 77
    roster.spoiled.add(rank)
    roster.remove(0)
    assert (roster.waiting, roster.pids, roster.spoiled, roster.retired) == ({}, {}, set(), set())
    assert list(roster.psets) == [1]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (None, "rank 1 (node n0, process set 0, pid 77)"),
        (((1,), (), ()), "a rank that had left (node n0, process set 0, pid 77)"),
        (((0,), (), ()), "rank 0 (node n0, process set 0, pid 77)"),
    ],
)
def test_a_rank_is_named_by_its_present_number_and_its_process(change: tuple | None, name: str) -> None:
    roster = running(2)
    roster.pids[RankId(0, 1)] = 77
    if change is not None:
        roster.change(*change)
    assert roster.name(RankId(0, 1)) == name


def test_ranks_outside_the_application_are_named_too() -> None:
    roster = running(1)
    newcomer = roster.add(["n0"]).ranks[0]
    assert roster.name(newcomer) == "a new rank (node n0, process set 1)"
    assert roster.name(RankId(9, 0)) == "a new rank (a node that is gone, process set 9)"


def test_a_node_without_a_stated_speed_counts_as_the_mean_of_the_others() -> None:
    roster = Roster((node("a", speed=10.0), node("b", speed=20.0), node("c")))
    assert [roster.speed_of(name) for name in "abc"] == [10.0, 20.0, 15.0]
    assert Roster((node("a"),)).speed_of("a") == 1.0


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.integers(1, 3), st.data()), min_size=1, max_size=5))
def test_every_member_has_one_number_whatever_joins_and_leaves(steps: list[tuple[int, st.DataObject]]) -> None:
    roster = running(2)
    for size, data in steps:
        numbers = range(len(roster.members))
        leaving = data.draw(st.sets(st.sampled_from(numbers), max_size=len(numbers) - 1)) if len(numbers) > 1 else set()
        stay = [rank for number, rank in enumerate(roster.members) if number not in leaving]
        newcomers = roster.add(["n0"] * size).ranks
        places = data.draw(st.sets(st.integers(0, len(numbers) + size - 1), min_size=size, max_size=size).map(sorted))
        roster.change(sorted(leaving), newcomers, places)
        assert [rank for rank in roster.members if rank not in newcomers] == stay
        assert [rank for rank in roster.members if rank in newcomers] == newcomers
        assert len(set(roster.members)) == len(roster.members)
        assert roster.retired.isdisjoint(roster.members)
        assert sum(roster.occupied().values()) == len(roster.members)


def test_ranks_that_park_are_parting_until_they_sleep() -> None:
    roster = Roster(nodes=())
    roster.add(["n0"] * 3)
    roster.members = [RankId(0, 0), RankId(0, 1), RankId(0, 2)]
    roster.change(leaving=(1, 2), newcomers=(), places=())
    assert roster.parting() == [RankId(0, 1), RankId(0, 2)]
    roster.waiting[RankId(0, 1)] = Waiting(loop=0, digest=0, objects=())
    assert roster.parting() == [RankId(0, 2)]
    assert roster.reusable("n0", 2) == [RankId(0, 1)]


def test_a_successor_that_was_prepared_and_computes_is_prepared_no_more() -> None:
    roster = running(2)
    later = roster.add(["n0", "n0"])
    roster.prepared.add(later.number)
    roster.succeed(later.ranks)
    roster.succeed(roster.add(["n0"]).ranks)
    assert later in roster.unwanted(), "it is to end as others do"
