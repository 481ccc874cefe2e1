"""What a job shows of a successor: what it prints from its first iteration on, what came before on request, new ranks alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.applications import COREFILES, Application

PRINTS = """
import sys, time
from pathlib import Path

import flexmpi
from mpi4py import MPI

world = MPI.COMM_WORLD
print(f"top {world.rank} of {world.size}", flush=True)
print(f"error {world.rank} of {world.size}", file=sys.stderr, flush=True)
with flexmpi.session() as flex:
    rows = flex.array("rows", (10,))
    begins = True
    for _ in flex.iterate(10**9):
        if begins:
            print(f"loop {flex.rank} of {flex.size}", flush=True)
            begins = False
        if flex.comm.bcast(Path(sys.argv[1]).exists()):
            flex.stop()
        time.sleep(0.001)
"""


@pytest.mark.parametrize("verbose", [False, True])
def test_what_a_successor_prints_before_its_loop_is_shown_on_request_and_the_rest_always(
    start: Callable[..., Application], tmp_path: Path, verbose: bool
) -> None:
    program, until = tmp_path / "program.py", tmp_path / "until"
    program.write_text(PRINTS)
    options = ("--change=handover", f"--corefile={COREFILES / 'demo.core'}", "--interval=0.02s", "-n1")
    application = start(*options, *(["-v"] if verbose else []), program, until)
    application.wait_for("loop")
    assert application.change("6:lhost:1")["outcome"] == "done"
    assert application.change("6:lhost:-1")["outcome"] == "done"
    until.touch()
    status, output, errors = application.finish()
    assert status == 0
    own = [line for line in output.splitlines() if line.startswith(("top", "loop"))]
    early = ["top 0 of 2", "top 1 of 2", "top 0 of 1"] if verbose else []
    loops = ["loop 0 of 1", "loop 0 of 2", "loop 1 of 2", "loop 0 of 1"]
    assert sorted(own) == sorted(["top 0 of 1", *early, *loops])
    assert sorted(re.findall("^error.*", errors, re.MULTILINE)) == sorted(
        line.replace("top", "error") for line in ["top 0 of 1", *early]
    )
    assert re.findall(r"^\[(\d)\] Process spawned in (\S+)", output, re.MULTILINE) == [("0", "demo-1"), ("1", "demo-1")]
