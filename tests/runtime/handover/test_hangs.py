"""A rank that hangs in a handover: the job ends with one clear error, or the change is dropped, and the rank is named."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.applications import Application, wait_until

Start = Callable[..., Application]

STOPS = """
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from mpi4py import MPI

import flexmpi
from flexmpi.runtime.arrays.node_rows import NodeRows
from flexmpi.runtime.rank.inheritance import told

until, where = Path(sys.argv[1]), sys.argv[2]


def stops_in(name: str, *, ahead: bool) -> None:
    \"\"\"Have this rank stopped at the beginning of what passes rows, ahead of the others or not.\"\"\"
    passes = getattr(NodeRows, name)

    def stop_and_pass(self: NodeRows, objects: Any, held: Any, wanted: Any, passing: Any) -> int:
        if passing.ahead == ahead:
            os.kill(os.getpid(), signal.SIGSTOP)
        return passes(self, objects, held, wanted, passing)

    setattr(NodeRows, name, stop_and_pass)


if MPI.COMM_WORLD.rank == 1:
    match where, "FLEXMPI_JOINING" in told:
        case ("plan" | "hand over"), False:
            stops_in("offer", ahead=where == "plan")
        case "take", True:
            stops_in("bring", ahead=False)

with flexmpi.session() as flex:
    rows = flex.array("rows", (10,))
    for iteration in flex.iterate(10**9):
        time.sleep(0.001)
        if flex.comm.bcast(until.exists()):
            flex.stop()
"""


def started(start: Start, folder: Path, where: str) -> Application:
    program, corefile = folder / "program.py", folder / "one.core"
    program.write_text(STOPS)
    corefile.write_text("n0:8:a0:100:1000\n")
    limits = ("--stall-timeout=2", "--ready-timeout=30")
    options = ("--change=handover", f"--corefile={corefile}", "--interval=0.02s", "--quiet", "-n2")
    application = start(*options, *limits, program, folder / "until", where)
    application.wait_for("loop")
    return application


@pytest.mark.parametrize(
    ("where", "late"), [("plan", "plan who is to have which rows"), ("hand over", "hand over their rows")]
)
def test_where_a_rank_of_the_old_world_is_stopped_the_job_ends_and_names_it(
    start: Start, tmp_path: Path, where: str, late: str
) -> None:
    application = started(start, tmp_path, where)
    event = application.change("6:lhost:1")
    assert event["outcome"] == "failed"
    status, _, errors = application.finish()
    assert status == 1
    (told,) = [line for line in errors.splitlines() if line.startswith("flexmpi: error: ")]
    assert re.fullmatch(
        r"flexmpi: error: reconfiguration 1: rank 1 \(node n0, process set 0, pid \d+\) is stopped by a signal or a "
        rf"debugger: the application's ranks did not {late} within 2 s \(--stall-timeout\)",
        told,
    )


def test_where_a_rank_of_the_new_world_is_stopped_the_change_is_dropped_and_names_it(
    start: Start, tmp_path: Path
) -> None:
    application = started(start, tmp_path, "take")
    dropped = application.change("6:lhost:1")
    assert dropped["outcome"] == "failed"
    assert re.fullmatch(
        r"reconfiguration 1: a new rank \(node n0, process set 1, pid \d+\) is stopped by a signal or a debugger: "
        r"the new ranks did not take over the rows within 2 s \(--stall-timeout\)",
        dropped["why"],
    )
    wait_until(lambda: len(application.rank_pids()) == 2, what="the successor is gone")
    application.wait_for("sample")
    (tmp_path / "until").touch()
    assert application.finish()[0] == 0
