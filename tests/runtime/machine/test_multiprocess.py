"""What programs of ``multiprocessing`` leave: who clears up is told by its command line, and folders by the sockets in them."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

import pytest

from flexmpi.runtime.machine.multiprocess import is_tracker, remove_folders, socket_folders, socket_folders_of

TABLE = """Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 101 /tmp/pymp-abc/listener-1
0000000000000000: 00000003 00000000 00000000 0001 03 102
0000000000000000: 00000002 00000000 00010000 0001 01 103 /scratch/with a blank/pymp-def/listener-2
0000000000000000: 00000002 00000000 00010000 0001 01 104 /run/other/listener-3
0000000000000000: 00000002 00000000 00010000 0001 01 105 @pymp-abstract/listener
0000000000000000: 00000002 00000000 00010000 0001 01 106 /tmp/pymp-of-others/listener-4
"""


def test_folders_are_those_of_multiprocessing_in_which_these_sockets_are_bound() -> None:
    found = socket_folders(TABLE, {"101", "102", "103", "104", "105"})
    assert found == {Path("/tmp/pymp-abc"), Path("/scratch/with a blank/pymp-def")}


def test_the_folder_of_a_living_process_is_found_and_removed() -> None:
    folder = Path(tempfile.mkdtemp(prefix="pymp-", dir="/tmp"))
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(folder / "listener"))
        assert socket_folders_of([os.getpid(), 2**22 + 1]) == {folder}
    remove_folders({folder})
    assert not folder.exists()


@pytest.mark.parametrize(
    ("line", "tracker"),
    [
        (b"python\0-B\0-c\0from multiprocessing.resource_tracker import main;main(35)\0", True),
        (b"python\0-c\0from joblib.externals.loky.backend.resource_tracker import main; main(8, False)\0", True),
        (b"python\0resource_tracker.py\0", False),
        (b"python\0-c\0from multiprocessing.spawn import spawn_main; spawn_main(tracker_fd=5)\0", False),
        (b"", False),
    ],
)
def test_a_resource_tracker_is_told_by_its_command_line(line: bytes, tracker: bool) -> None:
    assert is_tracker(line) == tracker
