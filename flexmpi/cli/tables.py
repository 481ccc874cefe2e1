"""Rows as people read them: chosen fields in aligned columns, fitted to a terminal, or plain lines for other programs.

What fields there are is `fields`'.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import click
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flexmpi.errors import ConfigurationError
from flexmpi.protocol.wire import Value

Row = TypeVar("Row")
Command = TypeVar("Command", bound=Callable[..., Any])

ABSENT = "-"
BETWEEN = "  "
"""Between columns: a value has no two spaces in a row, so that other programs can tell where it ends."""
NARROWEST = 20
"""A long text is not broken into narrower lines than that: rather the terminal breaks the whole row."""


@dataclass(frozen=True)
class Field(Generic[Row]):
    """One column that may be shown.

    Attributes
    ----------
    name
        What it is chosen by; in capitals its heading.
    meaning
        For the help.
    shown
        Returns a row's value as text; None where it has none.
    number
        Whether it is one, which is aligned at its end.
    text
        Whether it may be long, and is broken into lines where a terminal is too narrow.
    """

    name: str
    meaning: str
    shown: Callable[[Row], str | None]
    number: bool = False
    text: bool = False


@dataclass(frozen=True)
class Style(Generic[Row]):
    """How somebody wants rows.

    Attributes
    ----------
    fields
        Those to show; none where a command has words for it and nobody chose any.
    header
        Whether to show their names.
    json
        All of the rows, as JSON, instead.
    """

    fields: tuple[Field[Row], ...]
    header: bool
    json: bool


def style_options(command: Command, *, short: bool = True) -> Command:
    """Give a command ``--json``, ``--format`` and ``--noheader``; `style_of` takes their values.

    Parameters
    ----------
    short
        Whether ``-o`` stands for ``--format``.
    """
    names = ["-o", "--format"] if short else ["--format"]
    for option in (
        click.option("--noheader", is_flag=True, help="Without the headings."),
        click.option(*names, "format_", metavar="FIELD,...", help="Show these of the fields below."),
        click.option("--json", "as_json", is_flag=True, help="Print the agent's answer as JSON."),
    ):
        command = option(command)
    return command


def ending(fields: Sequence[Field[Any]], statuses: str) -> str:
    """Return the end of a command's help: its fields, and what its exit status means."""
    width = max(len(field.name) for field in fields)
    return "\n".join(
        ["\b", "Fields:", *(f"  {field.name:<{width}}  {field.meaning}" for field in fields), "", statuses]
    )


def style_of(options: Mapping[str, Any], fields: Sequence[Field[Row]], usual: str | None) -> Style[Row]:
    """Return what the options that `style_options` adds say.

    Parameters
    ----------
    usual
        The fields to show if no others are chosen; None for none.

    Raises
    ------
    ConfigurationError
        There is no such field.
    """
    names: str | None = usual if options["format_"] is None else options["format_"]
    return Style(
        fields=() if names is None else choose(fields, names),
        header=not options["noheader"],
        json=options["as_json"],
    )


def choose(fields: Sequence[Field[Row]], names: str) -> tuple[Field[Row], ...]:
    """Return the fields that ``NAME,NAME,...`` means, in its order.

    Raises
    ------
    ConfigurationError
        There is no such field.
    """
    known = {field.name: field for field in fields}
    wanted = [name.strip().lower() for name in names.split(",")]
    for name in wanted:
        if name not in known:
            raise ConfigurationError(f"--format: expected fields of {', '.join(known)}, got {name!r}")
    return tuple(known[name] for name in wanted)


def print_json(rows: Iterable[Value]) -> None:
    """Print rows as the agent sent them, as one JSON array."""
    click.echo(json.dumps([row.model_dump(mode="json") for row in rows], indent=2))


def print_rows(style: Style[Row], rows: Iterable[Row]) -> None:
    """Print rows: as wide as a terminal where all is readable so, else each on one line of any length."""
    fields = style.fields
    cells = [[field.shown(row) or ABSENT for field in fields] for row in rows]
    if sys.stdout.isatty() and least_width(fields, cells) <= (console := Console(highlight=False)).width:
        console.print(_table(fields, cells, header=style.header))
    else:
        for line in plain_lines(fields, cells, header=style.header):
            click.echo(line)


def plain_lines(fields: Sequence[Field[Any]], cells: Sequence[Sequence[str]], *, header: bool) -> Iterator[str]:
    """Yield rows as lines in which the columns are aligned."""
    lines = [[field.name.upper() for field in fields], *cells] if header else list(cells)
    widths = [max(map(cell_len, column), default=0) for column in zip(*lines, strict=True)]
    for line in lines:
        aligned = (_aligned(text, width, field) for text, width, field in zip(line, widths, fields, strict=True))
        yield BETWEEN.join(aligned).rstrip()


def least_width(fields: Sequence[Field[Any]], cells: Sequence[Sequence[str]]) -> int:
    """Return how wide a table must be that breaks no text into too narrow lines."""
    columns = zip(*([field.name for field in fields], *cells), strict=True)
    widths = [max(map(cell_len, column)) for column in columns]
    least = [min(width, NARROWEST) if field.text else width for field, width in zip(fields, widths, strict=True)]
    return sum(least) + len(BETWEEN) * len(fields)


def _aligned(text: str, width: int, field: Field[Any]) -> str:
    return " " * (width - cell_len(text)) + text if field.number else set_cell_size(text, width)


def _table(fields: Sequence[Field[Any]], cells: Sequence[Sequence[str]], *, header: bool) -> Table:
    table = Table(box=None, show_header=header, pad_edge=False, padding=(0, len(BETWEEN), 0, 0))
    for field in fields:
        table.add_column(
            field.name.upper(),
            justify="right" if field.number else "left",
            no_wrap=not field.text,
            overflow="fold",
        )
    for line in cells:
        table.add_row(*map(Text, line))
    return table
