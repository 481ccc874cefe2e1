"""What the ranks on this node share by files in /dev/shm: noted as soon as it is made, and removed when they were killed.

For node launchers; standard library only. A library removes its files itself, mostly when the world has initialised MPI, else at
its end; a rank that is killed before leaves them.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
from collections.abc import Callable, Collection
from contextlib import suppress

from flexmpi.runtime.machine import shared_files
from flexmpi.runtime.machine.shared_files import SharedFile

IN_CREATE = 0x100
LOOK_AFTER_S = 0.1
ONE_OF_A_WORLD = ("mpich_shm_", "Intel_MPI_")
"""Of these a world has one on each node, for the moment in which its ranks initialise MPI."""
_HEAD = struct.Struct("iIII")
_libc = ctypes.CDLL(None, use_errno=True)


class SharedMemory:
    """The shared files of the ranks on this node.

    Parameters
    ----------
    pids
        Returns the processes of these ranks.
    tell
        Called with files that were noted, so that another can remove them if this process is killed.
    """

    def __init__(self, pids: Callable[[], Collection[int]], tell: Callable[[list[SharedFile]], None]) -> None:
        self._pids = pids
        self._tell = tell
        self._noted: set[SharedFile] = set()
        self._heard_of: set[SharedFile] = set()
        self._events: int | None = None
        self._look: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Hear of new files from now on; where the kernel has no watch to give, files are noted by `note` alone."""
        events = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if events < 0:
            return
        if _libc.inotify_add_watch(events, os.fsencode(shared_files.FOLDER), IN_CREATE) < 0:
            os.close(events)
            return
        self._events = events
        asyncio.get_running_loop().add_reader(events, self._hear)

    def _hear(self) -> None:
        assert self._events is not None
        names: list[str] = []
        with suppress(BlockingIOError):
            while data := os.read(self._events, 1 << 16):
                names += created(data)
        new = [name for name in names if shared_files.is_of_mpi(f"{shared_files.FOLDER}/{name}")]
        if shared_files.every_user_is_seen():
            self._heard_of |= shared_files.own(new)
        if any(name.startswith(ONE_OF_A_WORLD) for name in new):
            self.note(self._pids())
        elif new and self._look is None:
            # Each rank makes some, and those of other jobs on this machine do: the next look is for many.
            self._look = asyncio.get_running_loop().call_later(LOOK_AFTER_S, self._look_again)

    def _look_again(self) -> None:
        self._look = None
        self.note(self._pids())

    def note(self, pids: Collection[int]) -> None:
        """Note what some ranks map or have open now."""
        if new := shared_files.files_of(pids) - self._noted:
            self._noted |= new
            self._tell(sorted(new))

    def clear(self) -> None:
        """Remove what nobody uses any more, also what a rank had made just before it was killed, and nobody could note."""
        used = shared_files.remove_unused(self._noted | self._heard_of)
        self._noted &= used
        self._heard_of &= used

    def close(self) -> None:
        """Hear of nothing any more."""
        if self._look is not None:
            self._look.cancel()
        if self._events is not None:
            asyncio.get_running_loop().remove_reader(self._events)
            os.close(self._events)
            self._events = None


def created(events: bytes) -> list[str]:
    """Return the names in what inotify tells (inotify(7)); after an overflow there is none."""
    names, place = [], 0
    while place < len(events):
        _, _, _, length = _HEAD.unpack_from(events, place)
        place += _HEAD.size
        names.append(os.fsdecode(events[place : place + length].rstrip(b"\0")))
        place += length
    return names
