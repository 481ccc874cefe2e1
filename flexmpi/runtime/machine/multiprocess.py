"""What programs that use Python's ``multiprocessing`` leave behind when all their processes are killed.

Semaphores and shared memory are removed by a process of theirs, the resource tracker, as soon as it serves nobody any more; the
folders of their Unix sockets by nobody. Standard library only.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

TRACKER = b"resource_tracker import main"
"""In the command line of resource trackers: Python's own, and those of libraries made after it."""
SOCKET_FOLDER = "pymp-"


def is_tracker(command_line: bytes) -> bool:
    """Tell a resource tracker by its command line, as /proc shows it."""
    return TRACKER in command_line


def socket_folders(table: str, inodes: Collection[str]) -> set[Path]:
    """Return the folders of multiprocessing in which sockets with these inodes are bound.

    Parameters
    ----------
    table
        What /proc/net/unix shows: a socket a line, with its inode and, where it is bound, its path in the 7th and 8th column.
    """
    rows = (line.split(maxsplit=7) for line in table.splitlines()[1:])
    folders = {Path(row[7]).parent for row in rows if len(row) == 8 and row[6] in inodes}
    return {folder for folder in folders if folder.is_absolute() and folder.name.startswith(SOCKET_FOLDER)}


def socket_folders_of(pids: Iterable[int]) -> set[Path]:
    """Return the folders of multiprocessing in which these processes have bound sockets."""
    inodes = set()
    for pid in pids:
        # It may end meanwhile.
        with suppress(OSError):
            for entry in os.scandir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    kind, _, inode = str(Path(entry.path).readlink()).partition(":")
                    if kind == "socket":
                        inodes.add(inode.strip("[]"))
    try:
        table = Path("/proc/net/unix").read_text(errors="surrogateescape")
    except OSError:
        return set()
    return socket_folders(table, inodes)


def remove_folders(folders: Iterable[Path]) -> None:
    """Remove such folders, when the processes whose they are have been killed."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
