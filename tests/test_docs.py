"""The pages agree with the code: links lead somewhere, and what they list is all there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from flexmpi import Session
from flexmpi.cli.run import run
from flexmpi.protocol.commands import COMMANDS
from flexmpi.protocol.requests import Mode
from flexmpi.scheduler.deciding.policies import POLICIES
from tests.applications import REPOSITORY

DOCS = REPOSITORY / "docs"
PAGES = sorted([*REPOSITORY.glob("*.md"), *DOCS.rglob("*.md")])


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The names GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", without_code(page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text()))


def table(page: Path, first_heading: str) -> list[str]:
    """The first column of the table with this first heading."""
    lines = page.read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {first_heading} |"))
    cells = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        cells.append(line.split("|")[1])
    return cells


def code_in(cells: list[str]) -> str:
    return " ".join(code for cell in cells for code in re.findall(r"`([^`]+)`", cell))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_relative_link_of_a_page_leads_somewhere(page: Path) -> None:
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(REPOSITORY), link
        assert not anchor or anchor in anchors(target), link


def test_the_page_about_running_has_every_option_of_flexmpi_run_and_no_other() -> None:
    options = {name for option in run.params for name in option.opts if name.startswith("-")}
    documented = set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", code_in(table(DOCS / "running.md", "option"))))
    assert documented - {"-h", "--help"} == options


def test_the_page_about_running_has_every_numbered_command() -> None:
    numbers = {int(number) for number in re.findall(r"(?<!\S)(\d+):", code_in(table(DOCS / "running.md", "command")))}
    assert numbers == set(COMMANDS)


def test_the_page_about_running_has_every_event_of_the_log() -> None:
    sources = (REPOSITORY / "flexmpi").rglob("*.py")
    written = {event for source in sources for event in re.findall(r'log\.write\(\s*"(\w+)"', source.read_text())}
    assert written == set(code_in(table(DOCS / "running.md", "event")).split())


def test_the_page_about_programs_has_every_name_of_the_session() -> None:
    public = {name for name in dir(Session) if not name.startswith("_")}
    documented = set(re.findall(r"flex\.(\w+)", code_in(table(DOCS / "programs.md", "name"))))
    assert documented == public


def test_the_difference_that_the_page_about_programs_shows_is_that_of_the_kmeans_twins() -> None:
    shown = re.search(r"^```diff\n(.*?)^```$", (DOCS / "programs.md").read_text(), re.MULTILINE | re.DOTALL)
    assert shown is not None
    for sign, twin in (("-", "plain/kmeans.py"), ("+", "kmeans.py")):
        lines = (REPOSITORY / "examples" / twin).read_text().splitlines()
        assert [line[1:] for line in shown[1].splitlines() if line.startswith(sign) and line[1:] not in lines] == []


def test_the_page_for_administrators_has_every_mode_and_every_policy() -> None:
    page = DOCS / "administrator.md"
    assert set(code_in(table(page, "mode")).split()) == set(get_args(Mode))
    assert set(code_in(table(page, "policy")).split()) == set(POLICIES)
