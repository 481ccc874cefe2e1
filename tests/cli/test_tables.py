"""Rows as text: aligned for people, and still one row a line and one value a column for other programs."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from flexmpi.cli.tables import NARROWEST, Field, choose, least_width, plain_lines
from flexmpi.errors import ConfigurationError

BOUNDED = settings(derandomize=True, deadline=None, max_examples=100)
FIELDS = (
    Field[dict[str, str]]("name", "what it is called", lambda row: row["name"]),
    Field[dict[str, str]]("count", "how many", lambda row: row["count"], number=True),
    Field[dict[str, str]]("why", "why", lambda row: row.get("why")),
)
words = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=8)
values = st.lists(words, min_size=1, max_size=3).map(" ".join)


def test_fields_are_chosen_by_name_in_any_order_and_case() -> None:
    assert [field.name for field in choose(FIELDS, "why, NAME")] == ["why", "name"]


@pytest.mark.parametrize("names", ["", "name,", "name;why", "names"])
def test_a_name_of_no_field_is_refused_with_those_there_are(names: str) -> None:
    with pytest.raises(ConfigurationError, match=r"--format: expected fields of name, count, why, got '"):
        choose(FIELDS, names)


def test_numbers_end_and_texts_begin_in_one_column() -> None:
    cells = [["a", "10", "x y"], ["bcd", "9", "-"]]
    assert list(plain_lines(FIELDS, cells, header=True)) == ["NAME  COUNT  WHY", "a        10  x y", "bcd       9  -"]
    assert list(plain_lines(FIELDS, cells, header=False)) == ["a    10  x y", "bcd   9  -"]


def test_only_long_texts_may_be_broken_and_not_into_narrow_lines() -> None:
    fields = (*FIELDS, Field[dict[str, str]]("more", "any", lambda row: row["more"], text=True))
    short = least_width(fields, [["a", "1000000", "x", "few"]])
    assert short == len("name") + len("1000000") + len("why") + len("more") + 4 * 2
    assert least_width(fields, [["a", "1000000", "x", "many " * 40]]) == short - len("more") + NARROWEST
    assert least_width(fields, []) == len("namecountwhymore") + 4 * 2


def test_without_rows_only_the_headings_are_left() -> None:
    assert list(plain_lines(FIELDS, [], header=True)) == ["NAME  COUNT  WHY"]
    assert list(plain_lines(FIELDS, [], header=False)) == []


@BOUNDED
@given(st.lists(st.lists(values, min_size=3, max_size=3), min_size=1, max_size=5))
def test_two_spaces_separate_whatever_the_values_are_and_wide_letters_are_counted_as_shown(
    rows: list[list[str]],
) -> None:
    lines = list(plain_lines(FIELDS, rows, header=False))
    assert [re.split("  +", line.strip()) for line in lines] == rows
    ends = {cell_len(line[: line.rindex(f"  {why}")]) for line, (_, _, why) in zip(lines, rows, strict=True)}
    assert len(ends) == 1  # the last column begins in the same place everywhere
