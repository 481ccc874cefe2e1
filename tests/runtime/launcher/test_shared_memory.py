"""The launcher notes what its ranks share as it is made, tells of it, and removes what they have left."""

from __future__ import annotations

import asyncio
import os
import struct
import subprocess
from pathlib import Path

import pytest

from flexmpi.runtime.launcher.shared_memory import SharedMemory, created
from flexmpi.runtime.machine import shared_files
from flexmpi.runtime.machine.shared_files import SharedFile

LIMIT_S = 30.0


def test_a_file_is_noted_when_a_rank_makes_it_and_removed_when_no_rank_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_files, "FOLDER", tmp_path)

    async def scenario() -> None:
        told: asyncio.Queue[list[SharedFile]] = asyncio.Queue()
        memory = SharedMemory(lambda: [os.getpid()], told.put_nowait)
        memory.open()
        with (tmp_path / "mpich_shm_of_others_0").open("w") as file:
            others = subprocess.Popen(["sleep", "1000"], stdout=file)
        with (tmp_path / "mpich_shm_1_0").open("w") as file:
            async with asyncio.timeout(LIMIT_S):
                assert await told.get() == [SharedFile(file.name, os.fstat(file.fileno()).st_ino)]
            memory.clear()
            assert Path(file.name).exists(), "it is in use"
        memory.clear()
        assert [path.name for path in tmp_path.iterdir()] == ["mpich_shm_of_others_0"]
        others.kill()
        others.wait()
        memory.close()
        assert told.empty()

    asyncio.run(scenario())


@pytest.mark.parametrize("is_seen", [True, False])
def test_a_file_of_a_rank_that_was_killed_before_it_could_be_noted_is_removed_where_every_process_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_seen: bool
) -> None:
    monkeypatch.setattr(shared_files, "FOLDER", tmp_path)
    monkeypatch.setattr(shared_files, "every_user_is_seen", lambda: is_seen)

    async def scenario() -> None:
        (tmp_path / "mpich_shm_before_0").touch()
        looked = asyncio.Event()

        def no_ranks() -> list[int]:
            looked.set()
            return []

        memory = SharedMemory(no_ranks, pytest.fail)
        memory.open()
        (tmp_path / "ucx_shm_posix_1").touch()
        async with asyncio.timeout(LIMIT_S):
            await looked.wait()
        memory.clear()
        memory.close()

    asyncio.run(scenario())
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"mpich_shm_before_0"} | (set() if is_seen else {"ucx_shm_posix_1"})


def test_the_names_are_read_out_of_what_the_kernel_tells() -> None:
    def event(name: bytes, room: int) -> bytes:
        return struct.pack("iIII", 1, 0x100, 0, room) + name.ljust(room, b"\0")

    assert created(event(b"a", 16) + event(b"", 0) + event(b"sm_segment.vm.0", 32)) == ["a", "", "sm_segment.vm.0"]
    assert created(b"") == []
