"""Whatever is declared, and whenever it is filled, a successor has it as it is."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.applications import COREFILES, PROGRAMS, Application, wait_until

Start = Callable[..., Application]


def begin(start: Start, folder: Path, blocks: str, *options: str, last_loop: int = 1) -> Application:
    how = ("--change=handover", f"--blocks={blocks}", f"--corefile={COREFILES / 'demo.core'}", "--interval=5", "-q")
    application = start(*how, "-n5", PROGRAMS / "declarations.py", f"--folder={folder}", *options)
    application.wait_for("loop", loop=last_loop)
    return application


def end(application: Application, folder: Path) -> None:
    (folder / "stop").touch()
    status, output, errors = application.finish()
    assert (status, output, errors) == (0, "all was right\n", "")


@pytest.mark.parametrize("blocks", ["node", "private"])
def test_a_matrix_that_was_assigned_in_a_loop_is_whole_on_nodes_and_off_them(
    start: Start, tmp_path: Path, blocks: str
) -> None:
    application = begin(start, tmp_path, blocks)
    for command, ranks in (("6:node2:-1", 4), ("6:lhost:-1", 3), ("6:node2:2", 5)):
        event = application.change(command)
        assert (event["outcome"], event["ranks_after"]) == ("done", ranks), event
    end(application, tmp_path)


def test_what_a_matrix_was_before_it_was_assigned_anew_takes_no_memory(start: Start, tmp_path: Path) -> None:
    application = begin(start, tmp_path, "node", "--loops=8", last_loop=8)
    application.wait_for("sample", loop=8)
    files = Path(f"/proc/{application.launcher('demo-1')}/fd")
    there = [str(file.readlink()) for file in files.iterdir() if file.is_symlink()]
    assert sum("csr:assigned anew" in name for name in there) == 3, there
    end(application, tmp_path)


TOUCHING = """
import pathlib, sys, time
import flexmpi
with flexmpi.session() as flex:
    x = flex.array("x", (10,))
    x.local[:] = 1.0  # without `if flex.starting:`
    for _ in flex.iterate(10**9):
        assert (x.local == 1.0).all()
        if flex.comm.bcast(pathlib.Path(sys.argv[1]).exists()):
            flex.stop()
        time.sleep(0.001)
    if flex.rank == 0:
        print("all was right")
"""


def test_a_successor_that_touches_what_is_not_here_yet_is_told_its_line_and_later_orders_are_refused(
    start: Start, tmp_path: Path
) -> None:
    script = tmp_path / "touching.py"
    script.write_text(TOUCHING)
    how = ("--change=handover", f"--corefile={COREFILES / 'demo.core'}", "--interval=5", "-q", "-n2")
    application = start(*how, script, tmp_path / "stop")
    application.wait_for("loop")
    dropped = application.change("6:node2:1")
    told = r"a new rank \(node demo-\d, .*\) raised flexmpi\.errors\.UsageError: 'x'\.local is not here yet.*"
    assert dropped["outcome"] == "failed" and re.fullmatch(told, dropped["why"]), dropped
    wait_until(lambda: len(application.rank_pids()) == 2, what="the successor is gone")
    for command in ("6:node2:1", "6:lhost:-1"):
        refused = application.send(command)
        assert re.fullmatch(f"error: no world can take over from this application: {told}", refused), refused
    (tmp_path / "stop").touch()
    status, output, errors = application.finish()
    assert (status, output) == (0, "all was right\n"), errors
    assert errors.count("Traceback (most recent call last):") == 1, errors
    assert re.search(r'File ".*/touching\.py", line 6, in <module>\n +x\.local\[:\] = 1\.0', errors), errors
    assert errors.count("UsageError: 'x'.local is not here yet") == 1 + errors.count(f"was dropped: {dropped['why']}")
