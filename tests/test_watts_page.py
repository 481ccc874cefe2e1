"""The page about models says how a curve of watts becomes --node-watts and how wrong a line is: the figures are computed here."""

from __future__ import annotations

import contextlib
import io
import re

import numpy as np
from numpy.typing import NDArray

from flexmpi.cli.policy_options import watts_from
from tests.applications import REPOSITORY

PAGE = (REPOSITORY / "docs" / "models.md").read_text()
LOADS = np.arange(11) / 10
BUSY = slice(1, None)
SERVERS = {"bent": 12, "straight": 2}


def curve(server: str) -> NDArray[np.float64]:
    """The watts that the page names for a server, at loads of 0, 10, … 100 %."""
    named = re.search(rf"\*{server.capitalize()}\*[^:]*:\s([0-9., \n]+) W\.", PAGE)
    assert named is not None
    watts = np.array(named[1].replace("\n", " ").split(","), dtype=float)
    assert watts.shape == LOADS.shape
    return watts


def rows() -> list[str]:
    found = []
    for server, cores in SERVERS.items():
        watts = curve(server)
        for through, part in (("idle and full", slice(0, None, 10)), ("all loads", slice(None)), ("busy loads", BUSY)):
            core, idle = np.polyfit(LOADS[part] * cores, watts[part], 1)
            errors = 100 * (idle + core * LOADS * cores - watts) / watts
            chosen = [*errors[[0, 1, 5, 10]], errors[BUSY][np.abs(errors[BUSY]).argmax()]]
            shown = " | ".join(f"{error + 0.0:.1f}".replace("-0.0", "0.0") for error in chosen)
            found.append(f"| {server} | {through} | `{idle:.1f}:{core:.2f}` | {shown} |")
    return found


def test_the_page_shows_how_wrong_the_lines_through_two_measured_curves_are() -> None:
    shown = [line for line in PAGE.splitlines() if line.startswith(tuple(f"| {server} |" for server in SERVERS))]
    assert shown == rows()


def test_the_line_that_the_page_prints_is_what_its_program_prints_and_node_watts_takes() -> None:
    program = re.search(r"```python\n(import numpy.*?)```", PAGE, re.DOTALL)
    assert program is not None
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(program[1], {})
    option = printed.getvalue().strip()
    assert program[1].rstrip().endswith(f"# {option}")
    idle, core = watts_from([option.removeprefix("--node-watts ")], [])[""]
    assert idle > 0 < core
