"""The page about the commands has all of their options and fields, and no others."""

from __future__ import annotations

import re

import click
import pytest

from flexmpi.cli import explain, fields
from flexmpi.cli.main import cli
from flexmpi.cli.tables import Field
from tests.cli.test_help import FOR_PEOPLE
from tests.test_docs import DOCS, code_in, table

PAGE = DOCS / "commands.md"


def options_of(command: click.Command) -> set[str]:
    return {name for option in command.params for name in option.opts if name.startswith("-")}


def commands() -> dict[str, click.Command]:
    context = click.Context(cli)
    found = {name: cli.get_command(context, name) for name in FOR_PEOPLE}
    return {name: command for name, command in found.items() if command is not None}


def rows_with_options() -> list[str]:
    """The first column of all tables of options."""
    return [line.split("|")[1] for line in PAGE.read_text().splitlines() if line.startswith("| `-")]


def test_every_command_is_there() -> None:
    assert set(re.findall(r"flexmpi (\w+)", code_in(table(PAGE, "command")))) == set(commands())


def test_every_option_is_there() -> None:
    written = set(re.findall(r"(?<!\S)--?[a-zA-Z][a-z-]*", code_in(rows_with_options())))
    assert written - {"-h", "--help"} == set().union(*map(options_of, commands().values()))


@pytest.mark.parametrize(
    ("name", "known", "shown"),
    [
        ("`flexmpi jobs`", fields.JOB_FIELDS, fields.JOB_SHOWN),
        ("`flexmpi nodes`", fields.NODE_FIELDS, fields.NODE_SHOWN),
        ("`flexmpi history`", fields.HISTORY_FIELDS, fields.HISTORY_SHOWN),
        ("`flexmpi explain`", explain.FIELDS, explain.SHOWN),
        ("what changes something", fields.OUTCOME_FIELDS, ""),
    ],
)
def test_every_field_is_there_with_its_meaning(name: str, known: tuple[Field[object], ...], shown: str) -> None:
    *_, row = (line for line in PAGE.read_text().splitlines() if line.startswith(f"| {name} |"))
    written = re.findall(r"(\*\*)?`(\w+)`(?:\*\*)? ([^;|]+?)(?:;| \|$)", row.split("|", 2)[2])
    assert [(field, meaning) for _, field, meaning in written] == [(field.name, field.meaning) for field in known]
    assert {field for bold, field, _ in written if bold} == set(filter(None, shown.split(",")))
