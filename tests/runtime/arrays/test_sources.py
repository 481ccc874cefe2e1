"""A successor of any shape gets each row it is to have from a source of any shape, and no row travels without need."""

from __future__ import annotations

from itertools import pairwise

import hypothesis.strategies as st
import pytest
from hypothesis import assume, given

from flexmpi.runtime.arrays.distribution import Distribution
from flexmpi.runtime.arrays.layout import Layout
from flexmpi.runtime.arrays.sources import Holding, MissingRows, Move, pieces_from, taking_plan

NODES = [f"node{number}" for number in range(6)]


@st.composite
def worlds(draw: st.DrawFn, *, rows: int) -> list[Holding]:
    """Rows shared by nodes in some order, each with one stretch, which may be empty."""
    nodes = draw(st.permutations(NODES).flatmap(lambda order: st.integers(1, 6).map(lambda count: order[:count])))
    cuts = sorted(draw(st.lists(st.integers(0, rows), min_size=len(nodes) - 1, max_size=len(nodes) - 1)))
    return [Holding(node, range(*each)) for node, each in zip(nodes, pairwise([0, *cuts, rows]), strict=True)]


@st.composite
def changes(draw: st.DrawFn) -> tuple[int, list[Holding], list[Holding]]:
    rows = draw(st.integers(0, 40))
    held, wanted = draw(worlds(rows=rows)), draw(worlds(rows=rows))
    assume({each.place for each in held} & {each.place for each in wanted})
    # A source may have rows at several places, as copies have.
    copies = [
        Holding(draw(st.sampled_from(held)).place, draw(st.sampled_from(held)).rows)
        for _ in range(draw(st.integers(0, 2)))
    ]
    # And so may a successor: what is the same on all ranks is wanted on each node.
    wanted += [
        Holding(each.place, draw(st.sampled_from(wanted)).rows)
        for each in draw(st.lists(st.sampled_from(wanted), max_size=2))
    ]
    return rows, [*held, *copies], wanted


def places(holdings: list[Holding]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {each.place: set() for each in holdings}
    for each in holdings:
        found[each.place] |= set(each.rows)
    return found


def carry_out(there: dict[str, set[int]], moves: tuple[Move, ...]) -> None:
    """Move all at once: whoever sends has the rows before anything arrives."""
    before = {place: set(rows) for place, rows in there.items()}
    for move in moves:
        assert move.rows and move.source != move.target
        assert set(move.rows) <= before[move.source]
        assert not set(move.rows) & there.setdefault(move.target, set()), (
            "rows come once, and not over those that are there"
        )
        there[move.target] |= set(move.rows)


@given(changes())
def test_every_row_gets_where_it_is_wanted(change: tuple[int, list[Holding], list[Holding]]) -> None:
    _, held, wanted = change
    plan, there = taking_plan(held, wanted), places(held)
    carry_out(there, plan.before)
    left = {each.place for each in held} - {each.place for each in wanted}
    assert all(move.source in left and move.target not in left for move in plan.before)
    for place in left:
        del there[place]
    carry_out(there, plan.after)
    assert all(rows <= there.get(place, set()) for place, rows in places(wanted).items())


@given(changes())
def test_rows_that_are_where_they_are_wanted_stay(change: tuple[int, list[Holding], list[Holding]]) -> None:
    _, held, wanted = change
    plan, there = taking_plan(held, wanted), places(held)
    travelling = sum(len(rows - there.get(place, set())) for place, rows in places(wanted).items())
    moved = sum(len(move.rows) for move in (*plan.before, *plan.after))
    present = places(held).keys() & places(wanted).keys()
    there = places(wanted)
    beside = [set(move.rows) - there[move.target] for move in plan.before]
    assert moved == travelling + sum(map(len, beside))
    assert not any(rows & there[place] for rows in beside for place in present), "only on their way to a new node"


def test_rows_of_a_node_that_goes_are_put_where_they_are_wanted_or_beside_it() -> None:
    held = [Holding("a", range(4)), Holding("b", range(4, 8)), Holding("c", range(8, 12))]
    wanted = [Holding("a", range(6)), Holding("d", range(6, 9)), Holding("c", range(9, 12))]
    plan = taking_plan(held, wanted)
    assert plan.before == (Move("b", "a", range(4, 6)), Move("b", "a", range(6, 8)))
    assert plan.after == (Move("a", "d", range(6, 8)), Move("c", "d", range(8, 9)))


def test_a_successor_without_a_node_in_common_is_refused() -> None:
    with pytest.raises(MissingRows, match="rows 0 to 4 lie on nodes of which the successor has none"):
        taking_plan([Holding("a", range(4))], [Holding("b", range(4))])


def test_rows_that_nobody_holds_are_named() -> None:
    with pytest.raises(MissingRows, match="nobody holds the rows 2 to 4"):
        taking_plan([Holding("a", range(2))], [Holding("a", range(4))])


RANGES = st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda pair: range(min(pair), max(pair)))


@given(st.lists(RANGES, max_size=6), RANGES)
def test_bytes_are_taken_once_each_and_in_order_from_a_memory_that_has_them_or_else_from_the_file(
    memories: list[range], wanted: range
) -> None:
    found = pieces_from(memories, wanted)
    taken = [byte for piece in found for byte in range(piece.start, piece.stop)]
    assert taken == list(wanted)
    for piece in found:
        here = set(range(piece.start, piece.stop))
        if piece.memory is None:
            assert not any(here & set(held) for held in memories), "the file is for what no memory has"
        else:
            assert here and here <= set(memories[piece.memory])


@st.composite
def private_worlds(draw: st.DrawFn) -> tuple[Layout, Layout, set[int]]:
    """Two worlds with a node in common, and the ranks of the first whose memory cannot be read."""
    rows = draw(st.integers(0, 40))

    def world() -> Layout:
        places = [node for node in draw(st.permutations(NODES[:4])) for _ in range(draw(st.integers(0, 3)))] or [
            "node0"
        ]
        inner = draw(st.lists(st.integers(0, rows), min_size=len(places) - 1, max_size=len(places) - 1))
        return Layout(tuple(places), {rows: Distribution((0, *sorted(inner), rows))})

    before, after = world(), world()
    assume(set(before.places) & set(after.places))
    return before, after, draw(st.sets(st.integers(0, len(before.places) - 1)))


@given(private_worlds())
def test_every_rank_gets_its_rows_out_of_memory_that_can_be_read_and_files_that_were_laid(
    worlds: tuple[Layout, Layout, set[int]],
) -> None:
    before, after, unread = worlds
    (rows,) = before.shared
    files: dict[str, set[int]] = {place: set() for place in (*before.places, *after.places)}
    memories: dict[str, list[range]] = {place: [] for place in files}
    for rank, place in enumerate(before.places):
        held = before.shared[rows].interval(rank)
        if rank in unread or place not in after.places:
            files[place] |= set(held)
        if rank not in unread:
            memories[place].append(held)
    plan = taking_plan(before.holdings(rows), after.holdings(rows))
    for move in plan.before:
        assert set(move.rows) <= files[move.source], "the predecessor moves what it has laid"
        files[move.target] |= set(move.rows)
    for move in plan.after:
        assert_there(files, memories, move.source, move.rows)
    for move in plan.after:
        files[move.target] |= set(move.rows)
    for rank, place in enumerate(after.places):
        assert_there(files, memories, place, after.shared[rows].interval(rank))


def assert_there(files: dict[str, set[int]], memories: dict[str, list[range]], place: str, rows: range) -> None:
    """All that is not read from the memory of ranks of the node is in its file."""
    for piece in pieces_from(memories[place], rows):
        assert piece.memory is not None or set(range(piece.start, piece.stop)) <= files[place]
