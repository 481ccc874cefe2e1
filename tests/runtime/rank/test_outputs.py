"""One rank's files that go on: what is written before its world computes, and after another has taken over, goes nowhere."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flexmpi.errors import UsageError
from flexmpi.runtime.rank.outputs import Noted, Outputs


def first(path: str, computes: bool) -> Noted:
    return Noted(first=True, by_another=False)


def later(path: str, computes: bool) -> Noted:
    return Noted(first=False, by_another=True)


class Application:
    """What a supervisor notes of the paths that one world after another opens; the answers to a rank of the latest."""

    def __init__(self) -> None:
        self.world, self.opened = 0, dict[str, int]()

    def note(self, path: str, computes: bool) -> Noted:
        by = self.opened.get(path)
        if computes:
            self.opened.setdefault(path, self.world)
        return Noted(first=by is None, by_another=by not in (None, self.world))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "output"
    path.write_text("earlier\n")
    return path


def test_the_first_to_open_a_path_makes_it_anew_and_the_same_rank_appends_to_it_then(path: Path) -> None:
    asked: list[str] = []

    def note(path: str, computes: bool) -> Noted:
        asked.append(path)
        return first(path, computes)

    outputs = Outputs(note, computes=True)
    for text in ("one\n", "two\n"):
        with outputs.open(path, "w", buffering=-1) as file:
            assert (Path(file.name), file.writable(), file.readable()) == (path, True, False)
            file.write(text)
    assert path.read_text() == "one\ntwo\n"
    assert asked == [str(path)]


def test_another_world_and_mode_a_append(path: Path) -> None:
    with Outputs(later, computes=True).open(path, "w", buffering=-1) as file:
        print("more", file=file)
    with Outputs(first, computes=True).open(path, "ab", buffering=0) as file:
        file.write(b"bytes\n")
    assert path.read_text() == "earlier\nmore\nbytes\n"


def test_a_link_to_a_file_is_that_file(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(path)
    outputs = Outputs(first, computes=True)
    for name in (path, link):
        with outputs.open(name, "w", buffering=-1) as file:
            file.write("line\n")
    assert path.read_text() == "line\nline\n"


@pytest.mark.parametrize("mode", ["wt", "wb"])
def test_what_a_successor_writes_before_it_computes_goes_nowhere_be_it_buffered_or_not(path: Path, mode: str) -> None:
    outputs = Outputs(later, computes=False)
    line = b"header\n" if mode == "wb" else "header\n"
    with outputs.open(path, mode, buffering=-1) as file:
        file.write(line)
        file.flush()
        os.write(file.fileno(), b"raw header\n")
        file.write(line)
        outputs.begin()
        assert path.read_text() == "earlier\n"
        file.write(line)
        assert file.tell() == len("earlier\nheader\n")
    assert path.read_text() == "earlier\nheader\n"


@pytest.mark.parametrize(("mode", "before"), [("w", ""), ("a", "earlier\n")])
def test_the_header_of_a_file_that_no_world_had_before_is_there(path: Path, mode: str, before: str) -> None:
    outputs = Outputs(first, computes=False)
    with outputs.open(path, mode, buffering=-1) as file:
        with outputs.open(path.with_name("closed"), "w", buffering=-1) as closed:
            closed.write("all\n")
        file.write("header\n")
        file.flush()
        assert path.read_text() == "earlier\n", "this world may be dropped"
        file.write("more\n")
        outputs.begin()
        assert path.read_text() == f"{before}header\nmore\n"
        file.write("line\n")
    assert path.read_text() == f"{before}header\nmore\nline\n"
    assert path.with_name("closed").read_text() == "all\n"


def test_what_is_held_of_a_file_that_is_opened_more_than_once_is_in_order(path: Path) -> None:
    outputs = Outputs(first, computes=False)
    with outputs.open(path, "w", buffering=-1) as file:
        file.write("1\n")
    with outputs.open(path, "w", buffering=1) as one, outputs.open(path, "a", buffering=-1) as other:
        one.write("2\n")
        other.write("3\n")
        other.flush()
        one.write("4\n")
        other.write("5\n")
        outputs.begin()
        one.write("6\n")
        other.write("7\n")
    assert path.read_text() == "1\n2\n3\n4\n5\n6\n7\n"


def test_a_world_that_was_dropped_has_not_opened_a_file_and_the_next_one_makes_it_anew(path: Path) -> None:
    application = Application()
    with Outputs(application.note, computes=False).open(path, "w", buffering=1) as dropped:
        dropped.write("header\n")
    outputs, application.world = Outputs(application.note, computes=False), 1
    with outputs.open(path, "w", buffering=1) as file:
        file.write("header\n")
        outputs.begin()
        file.write("line\n")
    assert path.read_text() == "header\nline\n"


def test_a_file_that_the_predecessor_has_opened_after_its_successor_keeps_what_it_has_written(path: Path) -> None:
    application = Application()
    predecessor, successor = Outputs(application.note, computes=True), Outputs(application.note, computes=False)
    with successor.open(path, "w", buffering=1) as after, predecessor.open(path, "w", buffering=1) as before:
        before.write("header\n")
        after.write("header\n")
        application.world = 1
        successor.begin()
        after.write("line\n")
    assert path.read_text() == "header\nline\n"


def test_what_all_ranks_of_a_new_world_have_written_to_a_file_is_there(path: Path) -> None:
    application = Application()
    ranks = [Outputs(application.note, computes=False) for _ in range(2)]
    for rank in ranks:
        with rank.open(path, "w", buffering=-1) as file:
            file.write("top\n")
    for rank in ranks:
        rank.begin()
    assert path.read_text() == "top\ntop\n"


def test_a_successors_file_that_cannot_be_opened_fails_at_once_as_open_does(tmp_path: Path) -> None:
    for computes in (False, True):
        with pytest.raises(FileNotFoundError, match="no folder"):
            Outputs(first, computes=computes).open(tmp_path / "no folder" / "file", "w", buffering=-1)
        with pytest.raises(IsADirectoryError):
            Outputs(first, computes=computes).open(tmp_path, "w", buffering=-1)


def test_what_a_predecessor_writes_is_there_when_it_has_handed_over_and_nothing_after_that(path: Path) -> None:
    predecessor, successor = Outputs(first, computes=True), Outputs(later, computes=False)
    with predecessor.open(path, "w", buffering=-1) as before, successor.open(path, "w", buffering=-1) as after:
        csv.writer(before).writerow(["of the predecessor"])
        predecessor.flush()
        successor.begin()
        csv.writer(after).writerow(["of the successor"])
        predecessor.end()
        print("of one that is gone", file=before, flush=True)
        with predecessor.open(path, "w", buffering=-1) as file:
            print("of one that is gone", file=file)
    assert path.read_text().splitlines() == ["of the predecessor", "of the successor"]


@pytest.mark.parametrize("note", [first, later])
def test_files_that_the_program_has_closed_or_dropped_are_left_alone(
    note: Callable[[str, bool], Noted], path: Path, tmp_path: Path
) -> None:
    outputs = Outputs(note, computes=False)
    before = len(os.listdir("/proc/self/fd"))
    outputs.open(path, "w", buffering=-1).close()
    file = outputs.open(tmp_path / "dropped", "w", buffering=-1)
    assert outputs.identities() == {(each.stat().st_dev, each.stat().st_ino) for each in (path, tmp_path / "dropped")}
    file.close()
    del file
    outputs.begin()
    outputs.flush()
    outputs.end()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("mode", ["r", "x", "w+", "rb", "", "wbt", "ww", "wa", 3])
def test_another_mode_is_refused(path: Path, mode: Any) -> None:
    with pytest.raises(UsageError, match="its mode is w or a"):
        Outputs(first, computes=True).open(path, mode, buffering=-1)
    assert path.read_text() == "earlier\n"
