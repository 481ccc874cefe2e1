"""The files in /dev/shm by which an MPI library's ranks share memory: whose they are, and removing those that were left.

Their names do not tell whose they are, so they are noted while a rank maps them or has them open. Standard library only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

FOLDER = Path("/dev/shm")
NAMES = ("mpich_shm_*", "ucx_shm_posix_*", "Intel_MPI_*", "sm_segment.*", "osc_sm.*")
"""Of MPICH and UCX, Intel MPI, and Open MPI. What a program of the user shares has other names, and is the program's own."""
REMOVED = " (deleted)"
"""What the kernel puts behind the name of a file in use that has none any more."""
INITIAL_PID_NAMESPACE = 0xEFFFFFFC
"""Its number is the same in every Linux (PROC_PID_INIT_INO). Processes of all others can be seen from there."""
_MAPPING = re.compile(r"\S+ \S+ \S+ \S+ (\d+) +(/.*)")


class SharedFile(NamedTuple):
    """A file and its number in its file system, for another may have got its name since."""

    path: str
    inode: int


def is_of_mpi(path: str) -> bool:
    """Tell, by its name, a file that an MPI library makes to share memory."""
    folder, _, name = path.rpartition("/")
    if name.endswith(REMOVED):
        return False
    return folder == str(FOLDER) and any(fnmatch(name, pattern) for pattern in NAMES)


def files_of(pids: Iterable[int]) -> set[SharedFile]:
    """Return the files that MPI has in shared memory and that one of these processes maps or has open."""
    return {file for pid in pids for file in _used_by(Path(f"/proc/{pid}")) if is_of_mpi(file.path)}


def own(names: Iterable[str]) -> set[SharedFile]:
    """Return the files of these names that are there and are this user's."""
    return {file for name in names for file in _of_this_user(str(FOLDER / name))}


def every_user_is_seen() -> bool:
    """Tell whether a file that no process seems to use is used by none: not so in a container that shares the folder."""
    return Path("/proc/self/ns/pid").stat().st_ino == INITIAL_PID_NAMESPACE


def remove_unused(files: Collection[SharedFile]) -> set[SharedFile]:
    """Remove those of these files that no process of this user maps or has open; return those that stay for that."""
    present = {file for file in files if file in _of_this_user(file.path)}
    if not present:
        return set()
    used = set(files_in_use())
    for file in present:
        if file.path not in used:
            Path(file.path).unlink(missing_ok=True)
    return {file for file in present if file.path in used}


def left_behind() -> list[Path]:
    """Return the files of MPI in shared memory that no process of this user uses."""
    present = [path for pattern in NAMES for path in FOLDER.glob(pattern)]
    used = set(files_in_use()) if present else set()
    return [path for path in present if str(path) not in used]


def files_in_use() -> Iterator[str]:
    """Yield the files that some process maps or holds open, as far as this user may see."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            for file in _used_by(Path(entry.path)):
                yield file.path


def _of_this_user(path: str) -> Iterator[SharedFile]:
    """Yield the file of that name, if this user has one."""
    with suppress(OSError):
        status = Path(path).stat()
        if status.st_uid == os.getuid():
            yield SharedFile(path, status.st_ino)


def _used_by(folder: Path) -> Iterator[SharedFile]:
    """Yield the files in shared memory that a process uses; it may end, or be another user's, at any of these reads."""
    # What it holds open comes first: it maps a file before it closes it, so a new one cannot slip through between the two.
    with suppress(OSError):
        for descriptor in (folder / "fd").iterdir():
            with suppress(OSError):
                path = str(descriptor.readlink())
                if path.startswith(str(FOLDER)):
                    yield SharedFile(path, descriptor.stat().st_ino)
    with suppress(OSError):
        for line in (folder / "maps").read_text(errors="replace").splitlines():
            if str(FOLDER) in line and (mapped := _MAPPING.fullmatch(line)) is not None:
                yield SharedFile(mapped[2], int(mapped[1]))
