"""Records inside a job: whatever is said comes back as it was, and what is not such a record is refused by its field."""

from __future__ import annotations

import json
from dataclasses import dataclass

import hypothesis.strategies as st
import pytest
from hypothesis import given

from flexmpi.errors import MessageError
from flexmpi.protocol.records import as_object, from_object, kinds_of


@dataclass(frozen=True)
class Point:
    x: int
    weight: float


@dataclass(frozen=True)
class Everything:
    name: str
    flag: bool
    points: tuple[Point, ...]
    pair: tuple[int, str]
    counts: dict[str, int]
    first: Point | None = None
    why: str | None = None


KINDS = kinds_of(Point, Everything)
RECORDS = st.from_type(Everything) | st.from_type(Point)


@given(RECORDS.filter(lambda each: "nan" not in repr(each)))
def test_what_is_said_comes_back_as_it_was(record: object) -> None:
    assert from_object(json.loads(json.dumps(as_object(record))), KINDS) == record


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"kind": "Line"}, "expected one of Everything, Point, got 'Line'"),
        ({"x": "1"}, "Point.x must be int, got '1'"),
        ({"x": True}, "Point.x must be int, got True"),
        ({"weight": None}, "Point.weight must be float, got None"),
        ({"y": 1}, "Point has the fields x, weight, got {'x': 1, 'weight': 2.0, 'y': 1}"),
    ],
)
def test_what_is_no_such_record_is_refused_with_its_field(changed: dict[str, object], complaint: str) -> None:
    with pytest.raises(MessageError) as refused:
        from_object({**as_object(Point(1, 2.0)), **changed}, KINDS)
    assert str(refused.value) == complaint


def test_a_tuple_of_fixed_length_has_that_length() -> None:
    said = {**as_object(Everything("a", True, (), (1, "b"), {})), "pair": [1]}
    with pytest.raises(MessageError, match=r"Everything.pair must be tuple"):
        from_object(said, KINDS)
