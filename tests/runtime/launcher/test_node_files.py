"""A node's files in memory: the same for all that ask, gone with the launcher, their memory given back as it is told."""

from __future__ import annotations

import asyncio
import mmap
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from flexmpi.errors import NodeMemoryError
from flexmpi.runtime.communication.files import NodeFilesLine
from flexmpi.runtime.launcher.node_files import NodeFiles
from flexmpi.runtime.machine.tasks import Tasks

LIMIT_S = 20.0
PAGE = mmap.PAGESIZE


def fail(error: BaseException) -> None:
    raise error


def with_files(folder: Path, use: Callable[[str], object]) -> None:
    """Have a launcher's files at a socket, and use them from another thread, as ranks are other processes."""

    async def serve() -> None:
        files = NodeFiles(folder / "files", Tasks(fail))
        files.open()
        try:
            async with asyncio.timeout(LIMIT_S):
                await asyncio.to_thread(use, str(folder / "files"))
        finally:
            files.close()

    asyncio.run(serve())


def blocks(descriptor: int) -> int:
    return os.fstat(descriptor).st_blocks * 512


def test_all_ranks_of_a_node_get_the_same_file_which_is_empty_at_first(folder: Path) -> None:
    def use(path: str) -> None:
        with NodeFilesLine(path) as one, NodeFilesLine(path) as two:
            first, second = one.file("x", size_bytes=10 * PAGE), two.file("x", size_bytes=10 * PAGE)
            other = one.file("y", size_bytes=10)
        assert os.fstat(first).st_size == 10 * PAGE and blocks(first) == 0
        os.pwrite(first, b"seven", 7)
        assert os.pread(second, 5, 7) == b"seven"
        assert not os.get_inheritable(first), "children of a rank have nothing to do with it"
        assert os.pread(other, 5, 0) == bytes(5)

    with_files(folder, use)


def test_another_size_for_the_same_file_is_refused_with_both(folder: Path) -> None:
    def use(path: str) -> None:
        with NodeFilesLine(path) as line:
            line.file("x", size_bytes=10)
            with pytest.raises(
                NodeMemoryError, match="x: this node has no memory file of 11 bytes: x has 10 bytes here"
            ):
                line.file("x", size_bytes=11)
            assert line.file("x", size_bytes=10), "the line is still good"

    with_files(folder, use)


def test_memory_that_no_rank_needs_is_given_back(folder: Path) -> None:
    def use(path: str) -> None:
        with NodeFilesLine(path) as line:
            kept, dropped = line.file("kept", size_bytes=10 * PAGE), line.file("dropped", size_bytes=10 * PAGE)
            for descriptor in (kept, dropped):
                os.pwrite(descriptor, b"x" * 10 * PAGE, 0)
            line.keep_only({"kept": (2 * PAGE + 1, 4 * PAGE)})
            again = line.file("dropped", size_bytes=5)
        assert blocks(kept) == 2 * PAGE
        assert os.pread(kept, 2 * PAGE, 2 * PAGE) == b"x" * 2 * PAGE
        assert os.pread(again, 5, 0) == bytes(5), "it is another file"
        assert os.pread(dropped, 1, 0) == b"x", "who has it has it"

    with_files(folder, use)


def test_files_that_were_made_since_a_rank_last_got_one_stay_whatever_it_keeps(folder: Path) -> None:
    def use(path: str) -> None:
        with NodeFilesLine(path) as line, NodeFilesLine(path) as other:
            earlier, kept = other.file("earlier", size_bytes=10), line.file("kept", size_bytes=10)
            later = other.file("later", size_bytes=10)
            line.keep_only({"kept": (0, 10)})
            # The line is served in its order, so this answer comes when what it keeps is known.
            assert os.path.sameopenfile(line.file("kept", size_bytes=10), kept)
            assert os.path.sameopenfile(other.file("later", size_bytes=10), later), "who made it needs it"
            assert not os.path.sameopenfile(other.file("earlier", size_bytes=10), earlier)

    with_files(folder, use)


def test_a_rank_that_waits_goes_on_when_memory_has_been_given_back(folder: Path) -> None:
    def use(path: str) -> None:
        with NodeFilesLine(path) as line, NodeFilesLine(path) as other:
            for _ in range(50):
                kept, dropped = line.file("kept", size_bytes=10 * PAGE), line.file("dropped", size_bytes=10)
                os.pwrite(kept, b"x" * 10 * PAGE, 0)
                line.keep_only({"kept": (0, PAGE)}, wait=True)
                assert blocks(kept) == PAGE
                assert not os.path.sameopenfile(other.file("dropped", size_bytes=10), dropped)

    with_files(folder, use)


def test_a_rank_that_is_gone_in_the_middle_does_no_harm(folder: Path) -> None:
    def use(path: str) -> None:
        with NodeFilesLine(path) as first:
            first.file("x", size_bytes=10)
        with NodeFilesLine(path) as second:
            assert second.file("x", size_bytes=10)

    with_files(folder, use)
