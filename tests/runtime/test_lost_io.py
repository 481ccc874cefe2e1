"""A new rank that is lost in an I/O phase gives its turn back."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.applications import COREFILES, Application, wait_until

LIMIT_S = 30.0
READS_AT_ITS_TOP = """
import sys, time
from pathlib import Path

import flexmpi
from mpi4py import MPI

folder = Path(sys.argv[1])
with flexmpi.session() as flex:
    rows = flex.array("rows", (10,))
    if not flex.starting and MPI.COMM_WORLD.rank:
        with flex.io(size_bytes=400):
            (folder / "inside").touch()
            time.sleep(1000)
    if not flex.starting:
        while not (folder / "inside").exists():
            time.sleep(0.01)
        raise OSError("no input")
    for _ in flex.iterate(10**9):
        if flex.comm.bcast((folder / "write").exists()):
            with flex.io(size_bytes=800):
                flex.stop()
        time.sleep(0.001)
"""


@pytest.fixture
def controller() -> Iterator[socket.socket]:
    """A UDP socket where a controller would listen."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.bind(("127.0.0.1", 0))
        end.settimeout(LIMIT_S)
        yield end


@pytest.mark.both_changes
def test_the_turn_of_a_new_rank_that_is_lost_in_its_io_phase_is_given_back(
    start: Callable[..., Application], tmp_path: Path, controller: socket.socket, change: str
) -> None:
    program = tmp_path / "program.py"
    program.write_text(READS_AT_ITS_TOP)
    asking = (f"--report={controller.getsockname()[1]}", "--io-controller", f"--corefile={COREFILES / 'demo.core'}")
    application = start(*asking, "--interval=0.02s", "-q", "-n1", program, tmp_path)
    application.wait_for("loop")
    assert application.send("6:lhost:1" if change == "handover" else "6:lhost:2").startswith("ok: ")
    assert controller.recv(4096) == b"ACQIO: 400"
    assert application.send("10:1") == "ok: the I/O phase begins"
    assert application.wait_for("reconfiguration")["why"].count("no input") == 1
    assert controller.recv(4096) == b"RELQIO"
    (tmp_path / "write").touch()
    assert controller.recv(4096) == b"ACQIO: 800"
    wait_until(lambda: application.send("10:1") == "ok: the I/O phase begins", what="it waits for its turn")
    assert controller.recv(4096) == b"RELQIO"
    assert application.finish()[0] == 0
