"""A number with more digits than ``int`` takes gets one line that says what was expected, in every option."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Flexmpi

ENDLESS = "9" * 5000


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("send", f"localhost:{ENDLESS}", "3:"), "must be PORT or HOST:PORT"),
        (("run", f"--nodes=1-{ENDLESS}"), "--nodes must be MIN or MIN-MAX"),
        (("run", f"--interval={ENDLESS}"), "the interval must be iterations"),
        (("run", f"--listen={ENDLESS}"), "--listen must be PORT"),
        (("run", f"--report={ENDLESS}"), "--report must be PORT"),
        (("expand", "1", ENDLESS), "expected how many nodes"),
        (("expand", "1", f"node[1-{ENDLESS}]"), "expected how many nodes"),
        (("submit", f"--time={ENDLESS}"), "--time: expected minutes"),
        (("submit", f"--nodes={ENDLESS}"), "--nodes must be MIN or MIN-MAX"),
    ],
)
def test_a_number_without_end_is_refused_in_one_line(
    flexmpi: Flexmpi, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    script = tmp_path / "script.py"
    script.write_text("#!/bin/sh\n")
    ended = flexmpi(*arguments, *([str(script)] if arguments[0] in ("run", "submit") else []))
    assert ended.status != 0
    assert ended.errors.startswith("flexmpi: error: ")
    assert said in ended.errors
    assert ended.errors.count("\n") == 1
