"""Which files a process writes, by what Python opens and by /proc, and which of them two processes write."""

from __future__ import annotations

import builtins
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from flexmpi.protocol.handover import WrittenFile
from flexmpi.runtime.rank.written_files import WrittenFiles, in_common, mapped_by, written_by

IDENTITIES = st.tuples(st.integers(0, 2), st.integers(0, 5))
PATHS = st.sampled_from(["/a", "/b", "/c", "/d"])


@given(
    st.dictionaries(IDENTITIES, PATHS),
    st.sets(IDENTITIES),
    st.dictionaries(PATHS, st.sampled_from(["x.py:1", "y.py:2"])),
)
def test_what_two_write_is_what_both_have_open_each_path_once(
    own: dict[tuple[int, int], str], theirs: set[tuple[int, int]], lines: dict[str, str]
) -> None:
    found = in_common(own, theirs, lines)
    assert [file.path for file in found] == sorted({path for each, path in own.items() if each in theirs})
    assert all(file.line == lines.get(file.path, "") for file in found)


def identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def test_descriptors_that_write_files_with_a_name_are_found_and_no_others(tmp_path: Path) -> None:
    written, appended, both, read = (tmp_path / name for name in ("written", "appended", "both", "read"))
    for path in (both, read):
        path.touch()
    before = written_by(os.getpid())
    with (
        written.open("w"), appended.open("a"), both.open("r+"), read.open(), open(os.devnull, "w"),  # noqa: PTH123
        tempfile.TemporaryFile(dir=tmp_path), os.fdopen(os.memfd_create("memory"), "w"),
    ):  # fmt: skip
        found = {path for each, path in written_by("self").items() if each not in before}
    assert found == {str(written), str(appended), str(both)}
    assert written_by("self").keys() == before.keys()


def test_a_mapping_that_writes_a_file_is_found_though_its_descriptor_is_closed(tmp_path: Path) -> None:
    mapped = np.memmap(tmp_path / "with a space", np.uint8, "w+", shape=(10,))
    copied = np.memmap(tmp_path / "with a space", np.uint8, "c")
    own = np.memmap(tmp_path / "copied", np.uint8, "w+", shape=(10,))
    assert {identity(tmp_path / "with a space"), identity(tmp_path / "copied")} <= mapped_by("self").keys()
    del mapped, own
    assert identity(tmp_path / "with a space") not in mapped_by("self") and copied.size


def test_a_process_that_is_gone_writes_nothing() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait(60)
    assert (written_by(ended.pid), mapped_by(ended.pid), written_by(0)) == ({}, {}, {})


@pytest.fixture
def predecessor(tmp_path: Path) -> Iterator[int]:
    """A process that has all files of a folder open for writing that are there."""
    opening = "files = [each.open('a') for each in pathlib.Path(sys.argv[1]).iterdir()]"
    script = f"import pathlib, sys; {opening}; print(flush=True); input()"
    for name in ("one", "two", "aside", "inherited"):
        (tmp_path / name).touch()
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.stdin.close()


@pytest.fixture
def files() -> Iterator[WrittenFiles]:
    """Watched for no longer than the test."""
    files = WrittenFiles()
    yield files
    files.end()


def test_a_function_that_the_program_has_put_in_place_of_open_stays(
    files: WrittenFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, mine = io.open, partial(io.open)
    monkeypatch.setattr(io, "open", real)
    files.watch()
    io.open = mine  # type: ignore[assignment]
    files.end()
    assert io.open is mine and builtins.open is real


def test_what_python_opens_for_writing_has_its_line_and_what_it_does_after_the_take_over_has_none(
    files: WrittenFiles, tmp_path: Path, predecessor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Tests lie in the repository as programs may, so nothing of them is taken for a library.
    monkeypatch.chdir(tmp_path)
    own = (builtins.open, io.open, os.open)
    with Path("inherited").open("a"):
        files.watch()
        Path("one").open("a").close()
        line = f"{__file__}:{sys._getframe().f_lineno - 1}"
        os.close(os.open(path=b"two", flags=os.O_WRONLY))
        Path("one").open().close()
        open(file="three", mode="w").close()  # noqa: PTH123
        assert open is io.open and open.__name__ == "open"
        with files.unwatched():
            Path("aside").open("a").close()
        found = files.in_common_with([predecessor], aside=())
    assert [file.path for file in found] == [str(tmp_path / "one"), str(tmp_path / "two")]
    assert found[0] == WrittenFile(str(tmp_path / "one"), line)
    assert files.in_common_with([predecessor], aside={identity(tmp_path / "one")}) == found[1:]
    assert files.in_common_with([], aside=()) == ()
    files.end()
    assert (builtins.open, io.open, os.open) == own, "as they were"
    Path("one").open("a").close()
    assert files.in_common_with([predecessor], aside=()) == ()
