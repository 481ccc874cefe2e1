"""Files of ``flex.output`` go on over worlds: what is written is there once, in order, and what worlds repeat is dropped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.applications import COREFILES, PROGRAMS, Application, wait_until

Start = Callable[..., Application]
EARLIER = "of an earlier run\n"
OPTIONS = ("--change=handover", f"--corefile={COREFILES / 'demo.core'}", "--interval=0.02s", "--quiet", "-n2")


def numbers(lines: list[str]) -> list[int]:
    return [int(line.split(",")[0]) for line in lines]


def own_files(folder: Path, rank: int) -> list[Path]:
    return [folder / f"{kind}-{rank}" for kind in ("rank", "kept", "closed")]


def test_a_table_has_its_header_once_and_each_iteration_of_all_worlds_in_order(start: Start, tmp_path: Path) -> None:
    for path in (tmp_path / "table.csv", *own_files(tmp_path, 0), *own_files(tmp_path, 3)):
        path.write_text(EARLIER if path.name.startswith("kept") else EARLIER * 1000)
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

    assert (tmp_path / "kept-0").read_text() == f"{EARLIER}top\nfirst iteration\n"
    top, *own, unwound = (tmp_path / "rank-0").read_text().splitlines()
    assert (top, unwound) == ("top", "unwound") and numbers(own) == list(range(len(lines)))
    # The fourth rank is there in the second world and in the last one alone.
    top, *of_the_fourth, _ = (tmp_path / "rank-3").read_text().splitlines()
    assert top == "top" and numbers(of_the_fourth) == [number for number, size in enumerate(ranks) if size >= 4]
    assert (tmp_path / "kept-3").read_text() == f"{EARLIER}top\n"
    assert [(tmp_path / f"closed-{rank}").read_text() for rank in range(4)] == ["top\nagain\n"] * 4
    assert [(tmp_path / f"of-{size}").read_text() for size in sizes] == ["top\n" * size for size in sizes]


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


def test_a_successor_that_is_dropped_leaves_files_as_they_were_and_the_next_one_writes_them(
    start: Start, tmp_path: Path
) -> None:
    for path in own_files(tmp_path, 2):
        path.write_text(EARLIER)
    application = start(*OPTIONS, PROGRAMS / "outputs.py", f"--folder={tmp_path}")
    application.wait_for("loop")
    assert application.change("13:node2:1")["outcome"] == "done"
    assert application.change("13:node2:0")["outcome"] == "done"
    wait_until(lambda: len(application.rank_pids()) == 2, what="the successor that was ready has gone")
    assert [path.read_text() for path in own_files(tmp_path, 2)] == [EARLIER] * 3
    changed = application.change("6:node2:1")
    (tmp_path / "until").touch()
    assert application.finish()[0] == 0

    header, *lines, _, _ = (tmp_path / "table.csv").read_text().splitlines()
    assert header == "iteration,ranks" and numbers(lines) == list(range(len(lines)))
    own, kept, closed = (path.read_text() for path in own_files(tmp_path, 2))
    assert own.startswith(f"top\n{changed['iteration']}\n")
    assert kept == f"{EARLIER}top\n" and closed == "top\nagain\n"
