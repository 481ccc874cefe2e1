"""docs/benchmarks.md says what the results in the repository say, and a result survives being kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.figures import Result, Spread, Table, Target, number
from benchmarks.page import PAGE, kept, page


def test_the_page_is_current_with_the_results() -> None:
    assert PAGE.read_text() == page(kept()), "run: python -m benchmarks.page"


def test_every_kept_result_was_measured_in_full_and_says_where() -> None:
    for result in kept():
        assert {"processor", "memory", "kernel", "MPI", "load average", "date"} <= set(result.machine), result.name
        assert "quick" not in result.machine, f"{result.name} was measured with --quick"


def test_the_page_of_models_has_their_measured_errors() -> None:
    (prediction,) = (result for result in kept() if result.name == "prediction")
    page_of_models = PAGE.with_name("models.md").read_text()
    for program, _, count, *errors, _, _ in prediction.tables[0].rows:
        medians = [number(error.median) for error in errors if isinstance(error, Spread)]
        assert f"| {program} | {count} | {' | '.join(medians)} |" in page_of_models


def test_a_result_survives_json() -> None:
    table = Table("t", ("a", "b"), (("x", Spread.of([1.0, 2.0])), ("y", None), ("z", 3.5)), ("note",))
    target = Target("claim", 1.0, 2.0)
    result = Result("n", "title", "method", {"cpu": "some"}, (table,), (target,), ("limit",))
    assert Result.from_json(result.as_json()) == result


def test_a_result_takes_the_place_of_an_earlier_one_with_the_same_tables_only() -> None:
    old = Result("n", "title", "method", {}, (Table("t", ("a", "b"), (("x", 1.0), ("y", 2.0))),))
    new = Result("n", "title", "method", {}, (Table("t", ("a", "b"), (("y", 3.0),)),))
    assert old.updated(new).tables[0].rows == (("x", 1.0), ("y", 3.0))
    with pytest.raises(ValueError, match="it has 1 tables and 2 were expected: measure all anew"):
        old.updated(Result("n", "title", "method", {}, (*new.tables, *new.tables)))


@pytest.mark.parametrize(("at_least", "figure", "met"), [(False, 1.0, True), (False, 3.0, False), (True, 3.0, True)])
def test_a_target_is_met_within_its_limit(at_least: bool, figure: float, met: bool) -> None:
    assert Target("claim", figure, 2.0, at_least=at_least).met is met


@given(st.lists(st.floats(1e-6, 1e6), min_size=1))
def test_a_spread_lies_between_its_ends(values: list[float]) -> None:
    spread = Spread.of(values)
    assert spread.minimum <= spread.median <= spread.maximum and spread.measurements == len(values)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1234.5, "1,234"),
        (12.345, "12.3"),
        (1.2345, "1.23"),
        (0.123, "0.12"),
        (0.00123, "0.0012"),
        (-2.0, "-2.00"),
    ],
)
def test_figures_have_three_digits_at_most(value: float, text: str) -> None:
    assert number(value) == text
