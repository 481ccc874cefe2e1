"""What limits of the system mean for where rows lie."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.applications import Application

Start = Callable[..., Application]

LIMIT_BYTES = 200_000_000
"""More than an MPI library's own shared memory takes, and less than the array of the program."""
ENDS_SOON = f"""
import flexmpi

with flexmpi.session() as flex:
    x = flex.array("x", {LIMIT_BYTES // 8 + 1})
    for _ in flex.iterate(3):
        x.local[0] += 1
    print("right" if x.local[0] == 3 else "wrong")
"""


ENDS_WHEN_TOLD = f"""
import sys
from pathlib import Path

import flexmpi
from mpi4py import MPI

with flexmpi.session() as flex:
    x = flex.array("x", {LIMIT_BYTES // 8 + 1})
    for number in flex.iterate(10**9):
        x.local[:1] += 1
        if MPI.COMM_WORLD.bcast(Path(sys.argv[1]).exists()):
            flex.stop()
    print("right" if x.local[0] == number + 1 else "wrong")
"""


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may be larger than a limit, for whatever is started meanwhile."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT_BYTES, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def end_of(start: Start, folder: Path, blocks: str) -> tuple[int, str, str]:
    program = folder / "program.py"
    program.write_text(ENDS_SOON)
    return start("--change=handover", f"--blocks={blocks}", "-q", "-n1", program).finish()


@pytest.mark.usefixtures("small_files")
def test_a_limit_on_files_that_a_nodes_file_would_pass_is_named_with_what_helps(start: Start, tmp_path: Path) -> None:
    status, _, errors = end_of(start, tmp_path, "node")
    assert status == 1
    assert (
        f"array:x: this node has no memory file of {LIMIT_BYTES + 8} bytes: File too large for the limit on files here "
        "(ulimit -f): raise that, or run with --blocks=private" in errors
    )


@pytest.mark.usefixtures("small_files")
def test_a_limit_on_files_does_not_concern_private_blocks(start: Start, tmp_path: Path) -> None:
    assert end_of(start, tmp_path, "private") == (0, "right\n", "")


@pytest.mark.usefixtures("small_files")
def test_a_node_that_has_no_room_for_rows_on_their_way_refuses_the_change_and_the_application_goes_on(
    start: Start, tmp_path: Path
) -> None:
    program, until, ranks, corefile = (tmp_path / name for name in ("program.py", "until", "ranks", "two.core"))
    program.write_text(ENDS_WHEN_TOLD)
    corefile.write_text("n0:2:a0:100:1000\nn1:2:a1:100:1000\n")
    ranks.write_text("n0:1\nn1:1\n")
    where = (f"--corefile={corefile}", f"--rankfile={ranks}")
    options = ("--change=handover", "--blocks=private", "--interval=0.02s", "-q")
    application = start(*options, *where, program, until)
    application.wait_for("loop")
    refused = application.change("6:a1:-1")
    assert (refused["outcome"], refused["ranks_before"]) == ("failed", 2)
    assert refused["why"].startswith(
        f"array:x: this node has no memory file of {LIMIT_BYTES + 8} bytes: File too large"
    )
    until.touch()
    status, output, _ = application.finish()
    assert (status, output) == (0, "right\nright\n")
