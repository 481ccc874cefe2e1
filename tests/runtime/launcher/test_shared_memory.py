"""The launcher notes what its ranks share as it is made, tells of it, and removes what they have left."""

from __future__ import annotations

import asyncio
import os
import struct
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
        others = tmp_path / "mpich_shm_of_others_0"
        others.touch()
        with (tmp_path / "mpich_shm_1_0").open("w") as file:
            async with asyncio.timeout(LIMIT_S):
                assert await told.get() == [SharedFile(file.name, os.fstat(file.fileno()).st_ino)]
            memory.clear()
            assert Path(file.name).exists(), "it is in use"
        memory.clear()
        assert list(tmp_path.iterdir()) == [others]
        memory.close()
        assert told.empty()

    asyncio.run(scenario())


def test_the_names_are_read_out_of_what_the_kernel_tells() -> None:
    def event(name: bytes, room: int) -> bytes:
        return struct.pack("iIII", 1, 0x100, 0, room) + name.ljust(room, b"\0")

    assert created(event(b"a", 16) + event(b"", 0) + event(b"sm_segment.vm.0", 32)) == ["a", "", "sm_segment.vm.0"]
    assert created(b"") == []
