"""Integer programs as plain data, and what a solver says of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any


@dataclass(frozen=True)
class Column:
    """A variable: what it adds to the objective, its bounds (None: none above), and whether it is a whole number."""

    objective: float
    upper: float | None = None
    lower: float = 0.0
    whole: bool = True


@dataclass(frozen=True)
class Row:
    """A constraint: ``lower <= sum of value * column <= upper``, with None for no bound."""

    columns: tuple[int, ...]
    values: tuple[float, ...]
    lower: float | None = None
    upper: float | None = None


@dataclass(frozen=True)
class Program:
    """Maximise the objective over the columns within the rows."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    def as_json(self) -> dict[str, Any]:
        """Return JSON values, as the solver's process reads them."""
        return asdict(self)


class Status(Enum):
    """What a solver has found out; nothing else of its answer is looked at before this."""

    OPTIMAL = "optimal"
    FEASIBLE = "feasible"
    INFEASIBLE = "infeasible"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Outcome:
    """A solver's answer.

    Attributes
    ----------
    values
        Of the columns; empty unless the status is optimal or feasible.
    remark
        For a person: why the status is unknown.
    """

    status: Status
    values: tuple[float, ...] = ()
    remark: str = ""
