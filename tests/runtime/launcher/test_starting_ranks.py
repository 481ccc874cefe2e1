"""Ranks that end before they have said hello are missed, each once, within a bounded time; the others never."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.runtime.launcher.starting_ranks import BEHIND_LIMIT_S, FIRST_LIMIT_S, StartingRanks

properties = settings(derandomize=True, deadline=None, max_examples=200)
STEP_S = 0.25


def test_a_rank_whose_process_has_gone_is_missed_at_the_second_look() -> None:
    ranks = StartingRanks([3, 4], 0.0)
    assert ranks.look({3: 30, 4: 40}, 0.1) == []
    assert ranks.look({4: 40}, 0.2) == []
    assert ranks.look({4: 40}, 0.3) == [3]
    assert ranks.look({4: 40}, 0.4) == []
    ranks.greeted(4, 0.5)
    assert ranks.are_all_known and ranks.look({}, 100.0) == []


def test_a_rank_that_is_told_to_have_ended_is_missed_at_the_next_look_though_its_shim_lives() -> None:
    ranks = StartingRanks([0, 1], 0.0)
    ranks.ended(1)
    assert ranks.look({0: 5, 1: 6}, 0.1) == [1]
    ranks.greeted(0, 0.2)
    ranks.ended(0)
    assert ranks.look({}, 0.3) == []


def test_a_rank_that_nobody_has_seen_is_missed_a_while_after_the_first_of_its_node() -> None:
    ranks = StartingRanks([0, 1], 0.0)
    ranks.greeted(0, 10.0)
    assert ranks.look({0: 5}, 10.0 + BEHIND_LIMIT_S) == []
    assert ranks.look({0: 5}, 10.1 + BEHIND_LIMIT_S) == [1]


def test_where_no_rank_has_come_all_are_missed_at_last() -> None:
    ranks = StartingRanks([0, 1], 0.0)
    assert ranks.look({}, FIRST_LIMIT_S) == []
    assert ranks.look({}, FIRST_LIMIT_S + 0.1) == [0, 1]


def test_a_rank_that_is_not_to_be_seen_for_a_moment_is_not_missed() -> None:
    ranks = StartingRanks([0], 0.0)
    assert [ranks.look(living, 1.0) for living in ({0: 5}, {}, {0: 5}, {}, {0: 5})] == [[]] * 5
    late = 10.0 + FIRST_LIMIT_S
    assert [ranks.look(living, late) for living in ({0: 5}, {}, {0: 5})] == [[]] * 3, "however late it is"


LIVES = st.lists(
    st.tuples(
        st.integers(0, 8),  # comes after so many steps
        st.none() | st.integers(0, 20),  # ends so many later
        st.none() | st.integers(0, 10),  # says hello so many after it has come
    ),
    min_size=1,
    max_size=6,
)


@properties
@given(LIVES)
def test_just_those_that_end_without_a_word_are_missed(lives: list[tuple[int, int | None, int | None]]) -> None:
    ranks = StartingRanks(range(len(lives)), 0.0)
    missed: list[int] = []
    for step in range(300):
        now = step * STEP_S
        living = {}
        for number, (comes, ends, hello) in enumerate(lives):
            if comes <= step and (ends is None or step < comes + ends):
                living[number] = 100 + number
                if hello is not None and step == comes + hello:
                    ranks.greeted(number, now)
        missed += ranks.look(living, now)
    silent = [n for n, (_, ends, hello) in enumerate(lives) if ends is not None and (hello is None or hello >= ends)]
    assert sorted(missed) == silent
