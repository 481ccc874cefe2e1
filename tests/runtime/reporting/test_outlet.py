"""Output to slow, blocked and vanished readers, and the event log on top of it."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest

from flexmpi.errors import ConfigurationError
from flexmpi.runtime.reporting import eventlog
from flexmpi.runtime.reporting.eventlog import EventLog
from flexmpi.runtime.reporting.outlet import Outlet

LIMIT_S = 20.0


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        try:
            os.close(descriptor)
        except OSError as error:
            assert error.errno == errno.EBADF


def read_to_the_end(descriptor: int) -> bytes:
    read = b""
    while data := os.read(descriptor, 1 << 16):
        read += data
    return read


def test_everything_is_written_in_order_and_told_when_it_is(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    outlet, told = Outlet(writing), []
    for number in range(100):
        outlet.write(b"%d\n" % number, then=lambda number=number: told.append(number))
    outlet.close()
    assert outlet.wait(LIMIT_S)
    os.close(writing)
    assert read_to_the_end(reading) == b"".join(b"%d\n" % number for number in range(100))
    assert told == list(range(100))


@pytest.mark.parametrize("blocking", [True, False])
def test_a_slow_reader_holds_up_nobody_and_loses_nothing(pipe: tuple[int, int], blocking: bool) -> None:
    reading, writing = pipe
    os.set_blocking(writing, blocking)
    outlet, first, second = Outlet(writing), threading.Event(), threading.Event()
    big = bytes(range(256)) * 4096
    outlet.write(b"start", then=first.set)
    outlet.write(big, then=second.set)
    outlet.close()
    assert first.wait(LIMIT_S)
    assert not outlet.wait(0.0)
    assert not second.is_set()
    received = b""
    while len(received) < len(b"start") + len(big):
        received += os.read(reading, 1 << 16)
    assert outlet.wait(LIMIT_S)
    assert second.is_set()
    assert received == b"start" + big


def test_a_reader_that_is_gone_is_told_once_and_the_rest_is_dropped(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.close(reading)
    broken: SimpleQueue[OSError] = SimpleQueue()
    outlet, dropped = Outlet(writing, on_broken=broken.put), threading.Event()
    outlet.write(b"a")
    outlet.write(b"b", then=dropped.set)
    outlet.close()
    assert outlet.wait(LIMIT_S)
    assert dropped.is_set()
    assert broken.get_nowait().errno == errno.EPIPE
    assert broken.empty()
    assert outlet.error is not None


def test_the_log_has_one_object_a_line_in_order(tmp_path: Path) -> None:
    with EventLog(tmp_path / "log") as log:
        for number in range(10):
            log.write("counted", number=number, text="ü\n")
    events = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [event["number"] for event in events] == list(range(10))
    assert {(event["event"], event["text"]) for event in events} == {("counted", "ü\n")}
    assert events == sorted(events, key=lambda event: event["time"])


def test_no_log_is_written_without_a_file() -> None:
    with EventLog(None) as log:
        log.write("counted")


def test_a_log_that_cannot_be_made_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot write the log: No such file or directory"):
        EventLog(tmp_path / "nowhere" / "log")


def test_a_log_that_cannot_be_written_any_more_is_a_warning_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    with EventLog(Path("/dev/full")) as log:
        log.write("lost")
        log.write("lost too")
    assert capsys.readouterr().err == "flexmpi: warning: /dev/full: the log is not complete: No space left on device\n"


def test_a_reader_of_the_log_that_does_not_read_does_not_hold_the_end_up(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eventlog, "CLOSE_LIMIT_S", 0.05)
    reading, writing = pipe
    with EventLog(Path(f"/dev/fd/{writing}")) as log:
        log.write("much", text="x" * (1 << 20))
    received = b""
    while not received.endswith(b"\n"):
        received += os.read(reading, 1 << 16)
    assert json.loads(received)["text"] == "x" * (1 << 20)
