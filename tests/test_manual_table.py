"""docs/manual.md keeps its word: the tests it names exist, and no weakness, command or line of the manual is left out."""

from __future__ import annotations

import ast
import re

import pytest

from flexmpi.protocol.commands import COMMANDS
from tests.applications import REPOSITORY

PAGE = (REPOSITORY / "docs" / "manual.md").read_text()
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)


def rows(heading: str) -> list[list[str]]:
    """The cells of the rows of the table below a heading."""
    section = re.search(rf"^##+ {heading}$\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert section is not None
    lines = [line for line in section[1].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


@pytest.mark.parametrize(("path", "name"), sorted(set(NAMED)))
def test_every_test_that_the_page_names_exists(path: str, name: str) -> None:
    tree = ast.parse((REPOSITORY / path).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_weakness_is_there_in_its_order_with_a_test() -> None:
    table = rows("What was weak")
    assert [row[0] for row in table] == [f"W{number}" for number in range(1, 20)]
    for number, *_, tests in table:
        assert "::" in tests, number


def test_every_command_is_there() -> None:
    numbers = [int(found[0]) for row in rows("Commands") if (found := re.match(r"\d+", row[0]))]
    assert numbers == sorted(COMMANDS)


def test_every_row_says_what_is_done_here() -> None:
    for heading in ("Goals and components", "Running a simple example", "Output, line by line", "Commands"):
        table = rows(heading)
        assert len(table) > 5
        for row in table:
            assert len(row) == 3, row
            assert row[1], row


def test_every_line_of_the_manuals_sessions_is_there() -> None:
    sessions = (REPOSITORY / "tests" / "runtime" / "test_manual_sessions.py").read_text()
    texts = re.findall(r'^(?:START|GROW|SHRINK|FOUR_NODES) = """\n(.*?)"""', sessions, re.MULTILINE | re.DOTALL)
    assert len(texts) == 4
    described = " ".join(row[0].replace("\\|", "|") for row in rows("Output, line by line"))
    for line in "".join(texts).splitlines():
        beginning = re.match(r"\[\d\] Process spawned|\[\d\] \w+|[A-Z][a-z]+ cost|[A-Z]\w+|\[DEBUG\] \w+", line)
        assert beginning is not None, line
        assert re.sub(r"\d", "", beginning[0]) in re.sub(r"\d", "", described), line
