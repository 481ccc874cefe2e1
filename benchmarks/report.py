"""The command line that all benchmarks share, and how a result is shown in a terminal and kept in a file."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.table import Table as Shown

from benchmarks import machine
from benchmarks.figures import Result, Target, number, shown

Measure = Callable[[bool], Result]
"""Measures, in short form if told so."""

MeasureParts = Callable[..., Result]
"""Measures, in short form if told so, these parts of what there is, by what the options say that it has besides."""

Option = Callable[[Callable[..., None]], Callable[..., None]]


def _options(run: Callable[..., None]) -> Callable[..., None]:
    keep = click.option(
        "--json", "path", type=click.Path(path_type=Path), metavar="FILE", help="Write the figures there."
    )
    quick = click.option(
        "--quick", is_flag=True, help="Few repetitions and small data: does it run? Its figures say little."
    )
    return keep(quick(run))


def command(measure: Measure) -> click.Command:
    """Make the command line of a benchmark."""

    @click.command(help=measure.__doc__)
    @_options
    def run(path: Path | None, quick: bool) -> None:
        load = machine.Load()
        _report(measure(quick), load, path=path, quick=quick)

    return run


def command_of_parts(measure: MeasureParts, parts: Sequence[str], *options: Option) -> click.Command:
    """Make the command line of a benchmark that can be run in parts: each is added to what the file has.

    Its own ``options``, made by click, are given to ``measure`` by name.
    """

    @_options
    @click.option("--only", type=click.Choice(parts), multiple=True, help="Measure this; may be given several times.")
    def run(path: Path | None, quick: bool, only: tuple[str, ...], **besides: object) -> None:
        load = machine.Load()
        result = measure(quick, only or parts, **besides)
        if only and path is not None and path.exists():
            earlier = Result.from_json(json.loads(path.read_text(encoding="utf-8")))
            try:
                result = earlier.updated(result)
            except ValueError as error:
                show(result)
                raise click.ClickException(f"{path}: {error}") from None
        _report(result, load, path=path, quick=quick)

    described: Callable[..., None] = run
    for option in options:
        described = option(described)
    return click.command(help=measure.__doc__)(described)


def _report(result: Result, load: machine.Load, *, path: Path | None, quick: bool) -> None:
    result.machine["load average"] = load.described()
    if quick:
        result.machine["quick"] = "yes: these figures say little"
    show(result)
    if path is not None:
        path.write_text(json.dumps(result.as_json(), indent=1) + "\n", encoding="utf-8")


def show(result: Result) -> None:
    """Print the tables, the targets and the machine."""
    console = Console(width=None if sys.stdout.isatty() else 150)
    for table in result.tables:
        drawn = Shown(title=table.title, caption=" ".join(table.notes) or None, box=box.SIMPLE)
        for place, heading in enumerate(table.headings):
            drawn.add_column(heading, justify="right" if place else "left")
        for row in table.rows:
            drawn.add_row(*map(shown, row))
        console.print(drawn)
    for target in result.targets:
        console.print(f"{'met    ' if target.met else 'NOT MET'}  {stated(target)}", highlight=False)
    for name, value in result.machine.items():
        console.print(f"{name}: {value}", highlight=False)


def stated(target: Target) -> str:
    """Say a target and what was measured."""
    bound = "at least" if target.at_least else "at most"
    return f"{target.claim}: {number(target.figure)} ({bound} {number(target.limit)})"
