"""What is recorded of a handover, and what its messages have in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.applications import PROGRAMS, Application

Start = Callable[..., Application]

SLOW_TO_BEGIN = """
import time
from pathlib import Path
from flexmpi import session

with session() as flex:
    array = flex.array("array", (10, 1))
    flex.on_resize(lambda _: time.sleep(0.3))
    for _ in flex.iterate(10**9):
        if flex.comm.bcast(Path({stop!r}).exists()):
            flex.stop()
"""


def test_the_record_of_a_change_counts_until_the_first_iteration_and_says_what_each_step_took(
    start: Start, tmp_path: Path
) -> None:
    stop = tmp_path / "stop"
    (tmp_path / "program.py").write_text(SLOW_TO_BEGIN.format(stop=str(stop)))
    application = start("--change=handover", "--interval=20", "--quiet", "-n1", tmp_path / "program.py")
    application.wait_for("loop")
    event = application.change("6:lhost:1")
    steps = [event[name] for name in ("plan_s", "hand_over_s", "take_s", "begin_s")]
    assert event["begin_s"] > 0.3, "what the program does before it computes is felt"
    assert event["stall_s"] == pytest.approx(sum(steps)) and min(steps) > 0
    stop.touch()
    assert application.finish()[0] == 0


def test_a_state_that_is_too_long_for_a_message_is_taken_on_every_node(start: Start, tmp_path: Path) -> None:
    stop, corefile = tmp_path / "stop", tmp_path / "two.core"
    corefile.write_text("n0:4:a0:100:1000\nn1:4:a1:100:1000\n")
    options = ("--change=handover", f"--corefile={corefile}", "--interval=0.02s", "--quiet", "-n2")
    application = start(*options, PROGRAMS / "succession.py", f"--until={stop}", "--long-state")
    application.wait_for("loop")
    for command, ranks, nodes in (("6:a1:2", 4, 2), ("6:a0:-2", 2, 1)):
        event = application.change(command)
        assert (event["outcome"], event["ranks_after"], event["nodes_after"]) == ("done", ranks, nodes), event
    stop.touch()
    status, output, errors = application.finish()
    assert (status, errors) == (0, "") and "all was right" in output
