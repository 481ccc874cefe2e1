"""Files by which an MPI library shares memory: told from others, and removed when nobody uses them any more."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flexmpi.runtime.machine import shared_files
from flexmpi.runtime.machine.shared_files import SharedFile

OF_LIBRARIES = ("mpich_shm_1_0", "ucx_shm_posix_2", "Intel_MPI_a1", "sm_segment.vm.0.5d30001.0", "osc_sm.vm.3.0.3")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of /dev/shm."""
    monkeypatch.setattr(shared_files, "FOLDER", tmp_path)
    return tmp_path


def made(folder: Path, name: str) -> SharedFile:
    path = folder / name
    path.write_bytes(bytes(mmap.PAGESIZE))
    return SharedFile(str(path), path.stat().st_ino)


def test_files_of_every_library_are_found_while_a_process_maps_them_or_has_them_open(folder: Path) -> None:
    files = [made(folder, name) for name in OF_LIBRARIES]
    made(folder, "psm_of_the_program")
    holding = """if True:
        import mmap, os, sys
        opened, mapped, own = sys.argv[1:]
        descriptor = os.open(mapped, os.O_RDWR)
        kept = open(opened), mmap.mmap(descriptor, 0), open(own)
        os.close(descriptor)
        print(flush=True)
        sys.stdin.read()
    """
    paths = [files[0].path, files[3].path, str(folder / "psm_of_the_program")]
    with subprocess.Popen(
        [sys.executable, "-c", holding, *paths], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"\n"
        assert shared_files.files_of([process.pid]) == {files[0], files[3]}
        assert shared_files.remove_unused(files) == {files[0], files[3]}
        assert {path.name for path in folder.iterdir()} == {OF_LIBRARIES[0], OF_LIBRARIES[3], "psm_of_the_program"}
        assert shared_files.left_behind() == []
        process.kill()
    assert {path.name for path in shared_files.left_behind()} == {OF_LIBRARIES[0], OF_LIBRARIES[3]}
    assert shared_files.remove_unused(files) == set()
    assert [path.name for path in folder.iterdir()] == ["psm_of_the_program"]


def test_a_file_that_has_got_the_name_of_one_that_was_noted_stays(folder: Path) -> None:
    noted = made(folder, OF_LIBRARIES[0])
    Path(noted.path).rename(f"{noted.path}-kept")
    made(folder, OF_LIBRARIES[0])
    assert shared_files.remove_unused([noted]) == set()
    assert Path(noted.path).exists()


def test_a_file_that_its_library_has_removed_while_ranks_map_it_is_not_noted(folder: Path) -> None:
    file = made(folder, OF_LIBRARIES[2])
    with Path(file.path).open("r+b") as opened, mmap.mmap(opened.fileno(), 0):
        assert shared_files.files_of([os.getpid()]) == {file}
        Path(file.path).unlink()
        assert shared_files.files_of([os.getpid()]) == set()
