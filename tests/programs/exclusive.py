"""Has a port and a locked file open that only one process can have, in all of its worlds, until ``--folder``/``until`` is there.

Rank 0 has the port, each rank a lock. Where there is a file ``fail``, what it says happens in rank 1 of a successor when it opens
its lock: ``raise``, ``hang`` (it makes a file ``hangs`` first) or ``kill``; with ``again`` behind it the predecessor fails when
it opens the lock again.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np
from mpi4py import MPI

import flexmpi
from flexmpi.runtime.rank.inheritance import told

parser = argparse.ArgumentParser()
parser.add_argument("--folder", type=Path, required=True)
parser.add_argument("--too-early", action="store_true", help="use it in a successor before its loop")
options = parser.parse_args()
folder: Path = options.folder
rank = MPI.COMM_WORLD.rank
is_successor = "FLEXMPI_JOINING" in told
opened: list[str] = []


def open_port() -> socket.socket | None:
    """Listen at the port that the first world was given."""
    if rank:
        return None
    listening = socket.socket()
    known = folder / "port"
    try:
        listening.bind(("127.0.0.1", int(known.read_text()) if known.exists() else 0))
    except OSError:
        listening.close()
        raise
    listening.listen()
    known.write_text(str(listening.getsockname()[1]))
    return listening


def open_lock() -> IO[bytes]:
    """Lock a file of this rank, if nobody has locked it."""
    how = []
    with suppress(FileNotFoundError):
        how = (folder / "fail").read_text().split()
    if how and rank == 1 and is_successor:
        if how[0] == "hang":
            (folder / "hangs").touch()
            time.sleep(1000)
        elif how[0] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError("no lock today")
    if "again" in how and rank == 1 and opened:
        raise OSError("the lock is gone")
    opened.append("lock")
    file = (folder / f"lock-{rank}").open("ab")
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return file


with flexmpi.session() as flex:
    count = flex.array("count", (40,), np.int64)
    with (
        flex.exclusive(open_port) as port,
        flex.exclusive(open_lock, close=lambda file: file.close()) as lock,
    ):
        if options.too_early and is_successor:
            lock.value.write(b"early")
        for iteration in flex.iterate(10**9):
            assert (count.local == iteration).all()
            count.local += 1
            assert not lock.value.closed
            if rank == 0:
                assert port.value is not None and port.value.getsockname()[1] == int((folder / "port").read_text())
                lock.value.write(b"%d\n" % iteration)
            if flex.comm.bcast((folder / "until").exists()):
                flex.stop()
            time.sleep(0.001)
    print(f"rank {rank} of {flex.size} opened its lock {len(opened)} times", flush=True)
