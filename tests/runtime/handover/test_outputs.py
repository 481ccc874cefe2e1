"""Files of ``flex.output`` go on over worlds: what is written is there once, in order, and what worlds repeat is dropped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.applications import COREFILES, PROGRAMS, Application, wait_until

Start = Callable[..., Application]
OPTIONS = ("--change=handover", f"--corefile={COREFILES / 'demo.core'}", "--interval=0.02s", "--quiet", "-n2")


def numbers(lines: list[str]) -> list[int]:
    return [int(line.split(",")[0]) for line in lines]


def test_a_table_has_its_header_once_and_each_iteration_of_all_worlds_in_order(start: Start, tmp_path: Path) -> None:
    for name in ("table.csv", "rank-0", "rank-3", "kept", "closed"):
        (tmp_path / name).write_text("of an earlier run\n" * 1000 if name != "kept" else "of an earlier run\n")
    application = start(*OPTIONS, PROGRAMS / "outputs.py", f"--folder={tmp_path}")
    application.wait_for("loop")
    sizes = [2]
    for command in ("6:node2:2", "6:node2:-1", "6:lhost:-2", "6:lhost:3"):
        event = application.change(command)
        assert event["outcome"] == "done", event
        sizes.append(event["ranks_after"])
    (tmp_path / "until").touch()
    assert application.finish() == (0, "", "")

    header, *lines, end, unwound = (tmp_path / "table.csv").read_text().splitlines()
    assert (header, end, unwound) == ("iteration,ranks", f"end,{sizes[-1]}", f"unwound,{sizes[-1]}")
    assert numbers(lines) == list(range(len(lines)))
    ranks = [int(line.split(",")[1]) for line in lines]
    assert [size for size, before in zip(ranks, [0, *ranks], strict=False) if size != before] == sizes

    assert (tmp_path / "kept").read_text() == "of an earlier run\ntop\nfirst iteration\n"
    assert (tmp_path / "closed").read_text() == "top\n"
    top, *own, unwound = (tmp_path / "rank-0").read_text().splitlines()
    assert (top, unwound) == ("top", "unwound") and numbers(own) == list(range(len(lines)))
    # The fourth rank is there in the second world and in the last one alone.
    top, *of_the_fourth, _ = (tmp_path / "rank-3").read_text().splitlines()
    assert top == "top" and numbers(of_the_fourth) == [number for number, size in enumerate(ranks) if size >= 4]


@pytest.mark.both_changes
def test_a_rank_that_is_new_writes_what_no_other_has_when_it_computes(start: Start, tmp_path: Path) -> None:
    application = start(*OPTIONS[1:], PROGRAMS / "outputs.py", f"--folder={tmp_path}")
    application.wait_for("loop")
    old = application.rank_pids()
    changed = application.change("6:node2:1")
    new = set(application.rank_pids()) - set(old)
    (tmp_path / "until").touch()
    assert application.finish()[0] == 0
    written = {pid: (tmp_path / f"pid-{pid}").read_text() for pid in (*old, *new)}
    assert [written[pid] for pid in old] == ["top\nfrom 0\n"] * 2
    assert new and {written[pid] for pid in new} == {f"top\nfrom {changed['iteration']}\n"}


def test_what_a_successor_that_is_dropped_has_written_is_nowhere(start: Start, tmp_path: Path) -> None:
    application = start(*OPTIONS, PROGRAMS / "outputs.py", f"--folder={tmp_path}")
    application.wait_for("loop")
    assert application.change("13:node2:1")["outcome"] == "done"
    assert application.change("13:node2:0")["outcome"] == "done"
    wait_until(lambda: len(application.rank_pids()) == 2, what="the successor that was ready has gone")
    (tmp_path / "until").touch()
    assert application.finish()[0] == 0
    header, *lines, _, _ = (tmp_path / "table.csv").read_text().splitlines()
    assert header == "iteration,ranks" and numbers(lines) == list(range(len(lines)))
    assert (tmp_path / "rank-2").read_text() == ""
