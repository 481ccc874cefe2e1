"""Figures with their spread, and the tables and targets that a benchmark reports. Pure: no clock, no file, no process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import median
from typing import Any, Self, TypeVar


@dataclass(frozen=True)
class Spread:
    """What repeated measurements gave, in the unit of the column it stands in."""

    minimum: float
    median: float
    maximum: float
    measurements: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """Summarise measurements; ValueError if there are none."""
        known = sorted(values)
        if not known:
            raise ValueError("a spread needs one measurement at least")
        return cls(known[0], median(known), known[-1], len(known))

    @classmethod
    def of_ratios(cls, above: Sequence[float], below: Sequence[float]) -> Self:
        """Summarise the ratios of measurements made side by side, pair by pair."""
        return cls.of(one / other for one, other in zip(above, below, strict=True))

    def __str__(self) -> str:
        if self.measurements == 1:
            return number(self.median)
        return f"{number(self.median)} ({number(self.minimum)} to {number(self.maximum)})"


Kept = TypeVar("Kept")
Cell = Spread | float | str | None
"""None where nothing could be measured."""


@dataclass(frozen=True)
class Table:
    """Rows of figures under headings that name their units."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Target:
    """A claim that a measurement bears out or not: the figure must be at most, or at least, the limit."""

    claim: str
    figure: float
    limit: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the figure keeps to the limit."""
        return self.figure >= self.limit if self.at_least else self.figure <= self.limit


@dataclass(frozen=True)
class Result:
    """All that one benchmark reports.

    Attributes
    ----------
    name, title
        Of its module, and what it shows.
    method
        How it measures, in a few sentences.
    machine
        Where and when, as `machine.describe` says.
    limits
        What stands in the way of targets that are not met, or of more.
    """

    name: str
    title: str
    method: str
    machine: dict[str, str]
    tables: tuple[Table, ...]
    targets: tuple[Target, ...] = ()
    limits: tuple[str, ...] = field(default=())

    def updated(self, later: Self) -> Self:
        """Return it with a later result of the same benchmark in place of what that measured again, and beside the rest.

        Raises
        ------
        ValueError
            The benchmark has other tables by now.
        """
        if len(self.tables) != len(later.tables):
            raise ValueError(
                f"it has {len(self.tables)} tables and {len(later.tables)} were expected: measure all anew"
            )
        tables = tuple(
            replace(new, rows=_updated(old.rows, new.rows, key=lambda row: str(row[0]))) if new.rows else old
            for old, new in zip(self.tables, later.tables, strict=True)
        )
        targets = _updated(self.targets, later.targets, key=lambda target: target.claim)
        return replace(later, tables=tables, targets=targets)

    def as_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Return what `as_json` was given."""
        tables = tuple(
            Table(
                table["title"],
                tuple(table["headings"]),
                tuple(tuple(_cell(cell) for cell in row) for row in table["rows"]),
                tuple(table["notes"]),
            )
            for table in values["tables"]
        )
        targets = tuple(Target(**target) for target in values["targets"])
        return cls(**{**values, "tables": tables, "targets": targets, "limits": tuple(values["limits"])})


def _updated(old: tuple[Kept, ...], new: tuple[Kept, ...], *, key: Callable[[Kept], str]) -> tuple[Kept, ...]:
    again = {key(each) for each in new}
    return (*(each for each in old if key(each) not in again), *new)


def _cell(value: Any) -> Cell:
    return Spread(**value) if isinstance(value, dict) else value


def number(value: float) -> str:
    """Write a figure with three significant digits, whole numbers of more as they are."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    digits = 3 - len(f"{abs(value):.0f}") if abs(value) >= 1 else 2
    return f"{value:.{digits}f}" if abs(value) >= 0.1 else f"{value:.2g}"


def shown(cell: Cell) -> str:
    """Write a cell of a table."""
    if cell is None:
        return "n/a"
    return number(cell) if isinstance(cell, int | float) else str(cell)
