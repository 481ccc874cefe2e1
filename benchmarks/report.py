"""The command line that all benchmarks share, and how a result is shown in a terminal and kept in a file."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.table import Table as Shown

from benchmarks import machine
from benchmarks.figures import Result, Target, number, shown

Measure = Callable[[bool], Result]
"""Measures, in short form if told so."""


def command(measure: Measure) -> click.Command:
    """Make the command line of a benchmark."""

    @click.command(help=measure.__doc__)
    @click.option("--json", "path", type=click.Path(path_type=Path), metavar="FILE", help="Write the figures there.")
    @click.option("--quick", is_flag=True, help="Few repetitions and small data: does it run? Its figures say little.")
    def run(path: Path | None, quick: bool) -> None:
        load = machine.Load()
        result = measure(quick)
        result.machine["load average"] = load.described()
        if quick:
            result.machine["quick"] = "yes: these figures say little"
        show(result)
        if path is not None:
            path.write_text(json.dumps(result.as_json(), indent=1) + "\n", encoding="utf-8")

    return run


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
