"""Who has open what only one may have: a world that computes, and of two that change the one whose turn it is."""

from __future__ import annotations

import re

import pytest

from flexmpi.errors import UsageError
from flexmpi.runtime.rank.exclusive import Exclusive, Exclusives


class Port:
    """What only one may have; it notes in a list what happens to it."""

    def __init__(self, happened: list[str], name: str = "a", *, fails: bool = False) -> None:
        if fails:
            raise OSError(f"{name} is taken\nby somebody")
        self.happened, self.name = happened, name
        happened.append(f"open {name}")

    def close(self) -> None:
        self.happened.append(f"close {self.name}")


def test_where_a_world_computes_it_is_open_in_the_with_block_and_nowhere_else() -> None:
    happened: list[str] = []
    held = Exclusive(Exclusives(computes=True), lambda: Port(happened), None)
    with pytest.raises(UsageError, match="has no value: the `with` block has not begun"):
        held.value  # noqa: B018
    with held as same:
        assert same is held and held.value.name == "a"
        assert happened == ["open a"]
    assert happened == ["open a", "close a"]
    with pytest.raises(UsageError, match="has no value: the `with` block has ended"):
        held.value  # noqa: B018


def test_it_is_closed_by_an_error_too_and_as_the_program_says() -> None:
    happened: list[str] = []
    with pytest.raises(KeyError), Exclusive(Exclusives(computes=True), lambda: 7, happened.append):  # type: ignore[arg-type]
        raise KeyError
    assert happened == [7]


def test_a_rank_that_opens_nothing_has_nothing_to_close() -> None:
    with Exclusive(Exclusives(computes=True), lambda: None, None) as held:
        assert held.value is None


def test_a_successor_opens_it_when_it_takes_over_in_the_order_of_the_program() -> None:
    happened: list[str] = []
    those = Exclusives(computes=False)
    with (
        Exclusive(those, lambda: Port(happened), None) as one,
        Exclusive(those, lambda: Port(happened, "b"), None),
    ):
        with pytest.raises(UsageError, match=r"test_exclusive.py:\d+\) has no value: the world that computes has it"):
            one.value  # noqa: B018
        with Exclusive(those, lambda: Port(happened, "never"), None):
            pass
        assert happened == []
        assert those.take() == ""
        assert happened == ["open a", "open b"] and one.value.name == "a"
        with Exclusive(those, lambda: Port(happened, "c"), None):
            assert happened == ["open a", "open b", "open c"]
    assert happened[3:] == ["close c", "close b", "close a"]


def test_a_predecessor_closes_it_and_leaves_it_closed_when_it_unwinds() -> None:
    happened: list[str] = []
    those = Exclusives(computes=True)
    with (
        Exclusive(those, lambda: Port(happened), None) as one,
        Exclusive(those, lambda: Port(happened, "b"), None),
    ):
        assert those.lend() == 2
        assert happened[2:] == ["close b", "close a"]
        with pytest.raises(UsageError, match="has no value: the world that takes over has it"):
            one.value  # noqa: B018
    assert len(happened) == 4
    assert those.lend() == 0


def test_a_change_that_is_given_up_opens_it_again() -> None:
    happened: list[str] = []
    those = Exclusives(computes=True)
    with Exclusive(those, lambda: Port(happened), None) as held:
        first = held.value
        for _ in range(2):
            assert those.lend() == 1
            those.take_back("given up")
        assert held.value is not first
    assert happened == ["open a", "close a"] * 3


def test_what_prevents_a_successor_is_told_in_one_line_with_that_of_the_program() -> None:
    those = Exclusives(computes=False)
    with Exclusive(those, lambda: Port([], fails=True), None):
        assert re.fullmatch(r"flex.exclusive \(.*test_exclusive.py:\d+\) raised OSError: a is taken", those.take())


def test_what_prevents_a_predecessor_is_raised_with_a_note_of_why_it_was_tried() -> None:
    those, turn = Exclusives(computes=True), iter((False, True))
    with Exclusive(those, lambda: Port([], fails=next(turn)), None):
        those.lend()
        with pytest.raises(OSError, match="a is taken") as caught:
            those.take_back("the successor was lost")
    assert "given up: the successor was lost" in caught.value.__notes__[0]


def test_what_has_no_way_to_be_closed_is_refused_and_so_is_a_block_in_its_own_block() -> None:
    those = Exclusives(computes=True)
    with pytest.raises(UsageError, match=r"int has no close\(\)"), Exclusive(those, lambda: 7, None):
        pass
    with Exclusive(those, lambda: Port([]), None) as held, pytest.raises(UsageError, match="do not nest"), held:
        pass
    assert those.lend() == 0
