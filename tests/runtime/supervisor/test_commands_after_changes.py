"""Commands that have to do with all ranks reach those that are there after a change, whichever way they came."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator

import pytest

from tests.applications import COREFILES, PROGRAMS, Application

Start = Callable[..., Application]

QUICK = (f"--corefile={COREFILES / 'demo.core'}", "--interval=0.05s", "-n2")
COUNTING = (PROGRAMS / "counting.py", "--pause=0.001")
WRITING = (PROGRAMS / "writing.py", "--pause=0.001")
THIRDS = (b"ACQIO: 264", b"ACQIO: 272")
"""What the ranks that are first at their I/O may say when 100 rows of 8 bytes are on three."""
MANY = 5000
"""More intervals, or phases, than a change takes."""


@pytest.fixture
def controller() -> Iterator[socket.socket]:
    """A UDP socket where a controller would listen."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.bind(("127.0.0.1", 0))
        end.settimeout(20.0)
        yield end


def reports(controller: socket.socket) -> str:
    return f"--report=127.0.0.1:{controller.getsockname()[1]}"


def line_of(controller: socket.socket, *, size: int) -> str:
    """Return the first monitoring line that comes of so many ranks."""
    for _ in range(MANY):
        line = controller.recv(4096).decode()
        if line.endswith(f" size {size}"):
            return line
    raise AssertionError(f"no line of {size} ranks, the last: {line}")


@pytest.mark.both_changes
def test_monitoring_and_the_performance_values_are_those_of_the_present_ranks(
    start: Start, controller: socket.socket
) -> None:
    application = start(*QUICK, reports(controller), *COUNTING)
    application.wait_for("loop")
    assert application.send("4:on").startswith("ok: ")
    for command, size, host in (("6:node2:1", 3, "demo-1"), ("6:lhost:-2", 1, "demo-2")):
        assert application.change(command)["ranks_after"] == size
        assert line_of(controller, size=size).startswith(f"[{host}] rtime ")
        assert re.match(rf"ok: \*\* \[{host}\] rtime is .*, size {size}, ", application.send("3:"))


def grant(application: Application) -> None:
    """Let the I/O phase begin that waits, or the first one that does."""
    while application.send("10:1") != "ok: the I/O phase begins":
        # Not there yet, and now without its delay: hold the next one.
        assert application.send("9:1000").startswith("ok: the ")


@pytest.mark.both_changes
def test_a_change_waits_for_an_io_phase_that_is_held_and_then_the_present_ranks_are_held(start: Start) -> None:
    application = start(*QUICK, *WRITING)
    application.wait_for("sample")
    assert application.send("9:1000").startswith("ok: the ")
    assert application.send("6:node2:1").startswith("ok: reconfiguration 1")
    grant(application)
    assert application.wait_for("reconfiguration", id=1)["ranks_after"] == 3
    assert application.send("9:1000").startswith("ok: the ")
    grant(application)
    assert len(application.wait_for("sample")["io_s"]) == 3


def phase(application: Application, controller: socket.socket) -> bytes:
    """Grant one I/O phase as a controller, and return what it was asked."""
    asked = controller.recv(4096)
    while application.send("10:1") != "ok: the I/O phase begins":
        pass
    assert controller.recv(4096) == b"RELQIO"
    return asked


@pytest.mark.both_changes
def test_a_controller_is_asked_for_the_io_phases_of_the_present_ranks(start: Start, controller: socket.socket) -> None:
    # Few phases a second, for each has to be granted until the change is done.
    writing = (PROGRAMS / "writing.py", "--pause=0.02")
    application = start(*QUICK, reports(controller), "--io-controller", *writing)
    assert phase(application, controller) == b"ACQIO: 400"
    assert application.send("6:node2:1").startswith("ok: reconfiguration 1")
    asked = next(asked for _ in range(MANY) if (asked := phase(application, controller)) != b"ACQIO: 400")
    assert asked in THIRDS
    assert application.wait_for("reconfiguration", id=1)["outcome"] == "done"
    assert controller.recv(4096) in THIRDS
    assert application.send("5:").startswith("ok: ")
    assert application.finish()[0] == 143
