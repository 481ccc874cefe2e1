"""A rank's shim tells how the rank ended before ``mpiexec`` can see that it has, ends in the same way, and takes it along."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flexmpi.protocol.rank_start import ENDS
from flexmpi.runtime.machine import processes

LIMIT_S = 30.0
RANK = """
import os, signal, sys
from flexmpi.runtime.rank import shim
shim.part()
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.write(int(sys.argv[1]), b"%d\\n" % os.getpid())
exec(sys.argv[2])
"""


class Started:
    """A rank with its shim, where ``mpiexec`` would have started it."""

    def __init__(self, process: subprocess.Popen[bytes], connection: int, ends: int) -> None:
        self.process = process
        self.ends = ends
        self._connection = connection
        self.pid = int(self._next())

    def _next(self) -> bytes:
        with selectors.DefaultSelector() as selector:
            selector.register(self._connection, selectors.EVENT_READ)
            assert selector.select(LIMIT_S), "nothing comes, and nobody has closed the connection"
        return os.read(self._connection, 100)

    def told_when_closed(self) -> bytes:
        """Return what has been told by the moment in which the last to hold the connection of rank and shim is gone."""
        assert self._next() == b""
        try:
            return os.read(self.ends, 100)
        except BlockingIOError:
            return b""


@contextmanager
def started(folder: Path, program: str) -> Iterator[Started]:
    (folder / "pset-0").mkdir()
    os.mkfifo(folder / "pset-0" / ENDS)
    ends = os.open(folder / "pset-0" / ENDS, os.O_RDWR | os.O_NONBLOCK)
    reading, writing = os.pipe()
    told = {
        "FLEXMPI_SOCKETS": json.dumps([[4, str(folder / "ranks.sock")]]),
        "FLEXMPI_OUTPUT": f"/elsewhere{folder}/pset-0",
        "PMI_RANK": "3",
    }
    process = subprocess.Popen(
        [sys.executable, "-c", RANK, str(writing), program], env={**os.environ, **told}, pass_fds=[writing]
    )
    os.close(writing)
    try:
        yield Started(process, reading, ends)
    finally:
        process.kill()
        process.wait()
        os.close(reading)
        os.close(ends)


@pytest.mark.parametrize(
    ("program", "status"),
    [
        ("os._exit(7)", 7),
        ("os._exit(0)", 0),
        ("sys.exit(3)", 3),
        ("os.kill(os.getpid(), signal.SIGSEGV)", -signal.SIGSEGV),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("os.kill(os.getpid(), signal.SIGINT)", -signal.SIGINT),
    ],
)
def test_how_a_rank_ended_is_told_before_its_connection_to_mpiexec_is_closed(
    tmp_path: Path, program: str, status: int
) -> None:
    with started(tmp_path, program) as rank:
        number, told = rank.told_when_closed().split()
        assert (int(number), os.waitstatus_to_exitcode(int(told))) == (3, status)
        assert rank.process.wait(LIMIT_S) == status


def test_a_rank_dies_with_its_shim_of_which_nothing_is_told(tmp_path: Path) -> None:
    with started(tmp_path, "signal.pause()") as rank:
        rank.process.kill()
        assert rank.told_when_closed() == b""


def test_signals_for_the_process_group_do_not_end_the_shim_and_reach_the_rank(tmp_path: Path) -> None:
    with started(tmp_path, "signal.pause()") as rank:
        assert os.getpgid(rank.pid) == os.getpgid(rank.process.pid)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
            rank.process.send_signal(number)
        os.kill(rank.pid, signal.SIGUSR2)
        assert os.waitstatus_to_exitcode(int(rank.told_when_closed().split()[1])) == -signal.SIGUSR2


def test_a_shim_is_shown_as_one_and_not_as_a_second_rank(tmp_path: Path) -> None:
    with started(tmp_path, "signal.pause()") as rank:
        shown = Path(f"/proc/{rank.process.pid}/cmdline").read_bytes().rstrip(b"\0").decode()
        assert shown == "flexmpi: shim of rank 3"
        assert processes.having(f"FLEXMPI_OUTPUT=/elsewhere{tmp_path}/pset-0") == [rank.process.pid, rank.pid]


def test_where_no_launcher_hears_it_a_shim_ends_as_its_rank_does(tmp_path: Path) -> None:
    with started(tmp_path, "signal.pause()") as rank:
        (tmp_path / "pset-0" / ENDS).unlink()
        os.kill(rank.pid, signal.SIGKILL)
        assert rank.process.wait(LIMIT_S) == -signal.SIGKILL
