"""Another process's memory, read and written by the kernel's cross-memory copies, once it is certain whose it is.

A process id alone is not: in another namespace it names another process, and when its process has ended it is used again. So
whoever lets others read says with it when the process started, and where a number lies that nobody else has.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from flexmpi.runtime.arrays.runs import Bytes, pieces

PIECE_BYTES = 1 << 26
"""Bytes that are copied at once: signals are seen to between two pieces."""
NONCE_BYTES = 16
BOOT = Path("/proc/sys/kernel/random/boot_id")
PID_NAMESPACE = Path("/proc/self/ns/pid")
STARTED_FIELD = 22
"""Of ``/proc/PID/stat``, counted from 1; the name of the program is field 2, and may have blanks in it."""
PR_SET_PTRACER, PR_SET_PTRACER_ANY = 0x59616D61, ctypes.c_ulong(-1)

_nonces: list[Bytes] = []


@dataclass(frozen=True)
class ProcessMark:
    """By what a process is known whose memory is to be read.

    Attributes
    ----------
    pid
        Its id.
    processes
        Those among which this id names it, see `processes`.
    started
        When it started, in the kernel's ticks since the boot.
    nonce, address
        What lies at an address of its memory, in hexadecimal digits: random, and nowhere else.
    """

    pid: int
    processes: int
    started: int
    nonce: str
    address: int


def own_mark() -> ProcessMark:
    """Return this process's mark, and let other processes of its user read its memory, as far as the kernel does."""
    with suppress(AttributeError, OSError):
        # Where Yama lets only parents read (ptrace_scope 1). As UCX and Open MPI do.
        ctypes.CDLL(None).prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0)
    nonce = np.frombuffer(os.urandom(NONCE_BYTES), dtype=np.uint8).copy()
    _nonces.append(nonce)  # stays where it is for as long as this process lives
    return ProcessMark(os.getpid(), processes(), _started(os.getpid()), nonce.tobytes().hex(), address_of(nonce))


def is_readable(mark: ProcessMark) -> bool:
    """Whether a mark's process is there, is the one that made it, and lets this one read its memory."""
    found = np.zeros(NONCE_BYTES, dtype=np.uint8)
    return (
        mark.processes != 0
        and mark.processes == processes()
        and mark.started == _started(mark.pid)
        and copied(found, mark.pid, mark.address, write=False)
        and found.tobytes().hex() == mark.nonce
    )


def copied(run: Bytes, pid: int, address: int, *, write: bool) -> bool:
    """Write bytes into another process's memory, or read them from there; whether that was possible."""
    calls = _calls()
    if calls is None:
        return False
    call, done = calls[write], 0
    for piece in pieces(run, PIECE_BYTES):
        end = done + piece.nbytes
        while done < end:
            mine = _Vector(address_of(run) + done, end - done)
            theirs = _Vector(address + done, end - done)
            count = call(pid, ctypes.byref(mine), 1, ctypes.byref(theirs), 1, 0)
            if count <= 0:
                return False
            done += count
    return True


def possible() -> bool:
    """Whether the system has cross-memory copies."""
    return _calls() is not None


@cache
def processes() -> int:
    """Return a number for the processes that know each other by their ids: of one kernel and one namespace; 0 where unknown."""
    with suppress(OSError):
        boot, namespace = BOOT.read_text().strip(), PID_NAMESPACE.stat().st_ino
        return int.from_bytes(boot.replace("-", "").encode()[:7], "little") ^ namespace << 8 | 1
    return 0


def address_of(run: Bytes) -> int:
    """Return where bytes lie in this process's memory."""
    return int(run.ctypes.data)


def _started(pid: int) -> int:
    """Return when a process started; 0 where there is none, or the system does not say."""
    with suppress(OSError, ValueError, IndexError):
        behind_name = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2]
        return int(behind_name.split()[STARTED_FIELD - 3])
    return 0


class _Vector(ctypes.Structure):
    """A ``struct iovec``: where some bytes are, and how many."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


@cache
def _calls() -> tuple[Any, Any] | None:
    """Return ``process_vm_readv`` and ``process_vm_writev``, where the system has them."""
    try:
        library = ctypes.CDLL(None, use_errno=True)
        read, write = library.process_vm_readv, library.process_vm_writev
    except (AttributeError, OSError):
        return None
    vectors: list[Any] = [ctypes.POINTER(_Vector), ctypes.c_ulong]
    for call in (read, write):
        call.argtypes, call.restype = [ctypes.c_int, *vectors, *vectors, ctypes.c_ulong], ctypes.c_ssize_t
    return read, write
