"""Programs with several loops: a successor comes to the loop that the application is in, and takes over there."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.applications import COREFILES, PROGRAMS, Application, wait_until

Start = Callable[..., Application]


class Loops:
    """An application of three loops that end when told to; ``tests/programs/loops_of_worlds.py``."""

    def __init__(self, start: Start, folder: Path, *options: str, held_until: str = "", uneven: bool = False) -> None:
        self.folder = folder
        how = (f"--held-until={held_until}", *(["--uneven"] if uneven else []))
        program = (PROGRAMS / "loops_of_worlds.py", f"--folder={folder}", *how)
        by_handover = ("--change=handover", f"--corefile={COREFILES / 'demo.core'}", "--interval=0.02s", "--quiet")
        self.application = start(*by_handover, *options, *program)
        self.application.wait_for("loop", loop=0)

    def tell(self, name: str) -> None:
        (self.folder / name).touch()

    def send(self, command: str) -> int:
        reply = self.application.send(command)
        assert reply.startswith("ok: reconfiguration "), reply
        return int(reply.split()[2].rstrip(":"))

    def end(self, *, told: str = "") -> list[str]:
        """Return in which loops the last world's ranks took part, and from which iteration."""
        for loop in range(3):
            self.tell(f"end-{loop}")
        status, output, errors = self.application.finish()
        assert (status, errors) == (0, told), errors
        assert "all was right" in output
        return re.findall(r"pid \d+ took part: (.*)", output)


@pytest.mark.parametrize("blocks", ["node", "private"])
def test_a_successor_that_starts_late_skips_the_loops_that_are_over(start: Start, tmp_path: Path, blocks: str) -> None:
    loops = Loops(start, tmp_path, "-n1", f"--blocks={blocks}")
    loops.tell("successors")
    loops.tell("end-0")
    loops.application.wait_for("loop", loop=1)
    assert loops.application.change("6:node2:2")["ranks_after"] == 3
    (parts,) = set(loops.end())
    assert re.fullmatch(r"not at all, from [1-9]\d*, from 0", parts)


@pytest.mark.parametrize("blocks", ["node", "private"])
def test_a_successor_that_is_ready_after_its_loop_takes_over_in_the_next(
    start: Start, tmp_path: Path, blocks: str
) -> None:
    loops = Loops(start, tmp_path, "-n2", f"--blocks={blocks}")
    number = loops.send("6:node2:1")
    wait_until(lambda: len(list(tmp_path.glob("started-*"))) == 3, what="all of the successor's ranks have started")
    loops.tell("end-0")
    loops.application.wait_for("loop", loop=1)
    loops.tell("successors")
    assert loops.application.wait_for("reconfiguration", id=number)["outcome"] == "done"
    assert all(part.startswith("not at all, from ") for part in loops.end())


def test_an_offer_that_comes_after_the_last_agreement_of_a_loop_is_taken_in_the_next(
    start: Start, tmp_path: Path
) -> None:
    loops = Loops(start, tmp_path, "-n2", "--interval=10", held_until="go")
    loops.tell("successors")
    wait_until((tmp_path / "held").exists, what="rank 0 is in iteration 2, the agreement points are 0 and 10")
    number = loops.send("6:node2:2")
    loops.tell("end-0")
    loops.tell("go")
    assert loops.application.wait_for("reconfiguration", id=number)["outcome"] == "done"
    assert all(part.startswith("not at all, ") for part in loops.end())


def test_a_successor_that_waits_goes_on_to_the_loop_that_the_application_comes_to(start: Start, tmp_path: Path) -> None:
    loops = Loops(start, tmp_path, "-n1")
    loops.tell("successors")
    assert loops.application.change("13:node2:1")["outcome"] == "done"
    loops.tell("end-0")
    loops.application.wait_for("loop", loop=1)
    assert loops.application.change("6:node2:1")["ranks_after"] == 2
    assert all(part.startswith("not at all, from ") for part in loops.end())


@pytest.mark.parametrize("blocks", ["node", "private"])
def test_constant_rows_that_were_filled_after_they_were_planned_come_as_they_are(
    start: Start, tmp_path: Path, blocks: str
) -> None:
    loops = Loops(start, tmp_path, "-n5", f"--blocks={blocks}")
    assert loops.send("6:node2:-1") == 1
    wait_until(lambda: len(list(tmp_path.glob("started-*"))) == 4, what="all of the successor's ranks have started")
    loops.tell("end-0")
    loops.application.wait_for("loop", loop=1)
    loops.tell("successors")
    assert loops.application.wait_for("reconfiguration", id=1)["outcome"] == "done"
    loops.end()


def with_a_successor_that_declares_after_rows_were_shared_anew(start: Start, folder: Path, blocks: str) -> Loops:
    loops = Loops(start, folder, "-n2", f"--blocks={blocks}", uneven=True)
    assert loops.send("6:node2:1") == 1
    wait_until(lambda: len(list(folder.glob("started-*"))) == 3, what="all of the successor's ranks have started")
    loops.tell("end-0")
    return loops


def test_a_successor_takes_constant_rows_from_where_they_were_before_they_were_shared_anew(
    start: Start, tmp_path: Path
) -> None:
    loops = with_a_successor_that_declares_after_rows_were_shared_anew(start, tmp_path, "node")
    loops.application.wait_for("loop", loop=1)
    loops.tell("successors")
    assert loops.application.wait_for("reconfiguration", id=1)["outcome"] == "done"
    loops.end()


def test_a_successor_that_would_read_where_rows_were_before_they_were_shared_anew_is_dropped(
    start: Start, tmp_path: Path
) -> None:
    loops = with_a_successor_that_declares_after_rows_were_shared_anew(start, tmp_path, "private")
    dropped = loops.application.wait_for("reconfiguration", id=1)
    assert dropped["why"] == "rows were shared anew, by a matrix that a later loop has"
    loops.application.wait_for("loop", loop=1)
    loops.tell("successors")
    assert loops.application.change("6:node2:1")["ranks_after"] == 3
    loops.end(told=f"flexmpi: reconfiguration 1 was dropped: {dropped['why']}\n")
