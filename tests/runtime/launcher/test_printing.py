"""What ranks print reaches the reader whole, at the reader's own pace, and in bounded memory."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from flexmpi.runtime.launcher.window import WINDOW_BYTES, Window
from flexmpi.runtime.machine.processes import descendants
from tests.applications import PROGRAMS, command_line, wait_until

LIMIT_S = 20.0


def printing(folder: Path, *options: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
    """Start a job that prints."""
    command = [sys.executable, "-m", "flexmpi.cli", "run", "-q", *options[:1], PROGRAMS / "printing.py", *options[1:]]
    environment = {**os.environ, "TMPDIR": str(folder)}
    return subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, env=environment)


def test_lines_of_two_ranks_are_never_mixed_and_no_byte_is_lost(folder: Path) -> None:
    output, errors = printing(folder, "-n2", "--lines=3000").communicate(timeout=60)
    lines = output.split(b"\n")
    assert all(len(set(line)) == 1 for line in lines if b"text" not in line)
    assert sorted(lines[-2:]) == [b"a" * 50, b"b" * 50]
    expected = [letter * (1 + number * 7919 % 3000) for letter in (b"a", b"b") for number in range(3000)]
    expected += [letter * size for letter in (b"a", b"b") for size in (300_000, 50)]
    assert sorted(lines) == sorted([*expected, *[b"\xff\xfe is no text"] * 2])
    for letter in (b"a", b"b"):
        assert [line for line in lines if line.startswith(letter)] == [
            line for line in expected if line.startswith(letter)
        ]
    assert sorted(errors.splitlines()) == [b"a on stderr", b"b on stderr"]


def test_a_slow_reader_slows_the_ranks_down_and_fills_no_memory(folder: Path) -> None:
    reading, writing = os.pipe()
    job = printing(folder, "-n1", "--megabytes=100", stdout=writing)
    os.close(writing)
    received, largest = 0, 0
    with os.fdopen(reading, "rb", 0) as output:
        received += len(output.read(1))
        wait_until_blocked(job.pid)
        before = memory_bytes(job.pid)
        while data := output.read(1 << 20):
            if (received + len(data)) >> 23 > received >> 23:
                largest = max(largest, memory_bytes(job.pid))
            received += len(data)
    assert (job.communicate(timeout=LIMIT_S)[1], job.returncode) == (b"", 0)
    assert received == 100 << 20
    assert 0 < largest < before + (20 << 20)


def test_a_reader_who_does_not_read_cannot_keep_a_job_that_is_ended(folder: Path) -> None:
    reading, writing = os.pipe()
    job = printing(folder, "-n1", "--megabytes=10", stdout=writing)
    os.close(writing)
    with os.fdopen(reading, "rb", 0) as output:
        output.read(1)
        wait_until_blocked(job.pid)
        job.terminate()
        errors = job.communicate(timeout=LIMIT_S)[1]
    assert (job.returncode, errors) == (143, b"flexmpi: error: ended by SIGTERM\n")


def wait_until_blocked(job: int) -> None:
    """Wait until a job's rank, which only writes, has written nothing for half a second."""
    written, since = 0, time.monotonic()

    def is_blocked() -> bool:
        nonlocal written, since
        ranks = [pid for pid in descendants(job) if b"printing.py" in command_line(pid)]
        now = sum(written_bytes(pid) for pid in ranks)
        if now != written:
            written, since = now, time.monotonic()
        return written > 1 << 20 and time.monotonic() - since > 0.5

    wait_until(is_blocked, what="the rank waits for the reader")


def written_bytes(pid: int) -> int:
    with suppress(OSError):
        return int(re.findall(r"wchar: (\d+)", Path(f"/proc/{pid}/io").read_text())[0])
    return 0


def memory_bytes(job: int) -> int:
    """Return the resident memory of a job's supervisor and launcher."""
    total = 0
    for pid in (job, *descendants(job)):
        if pid == job or b"flexmpi.runtime.launcher" in command_line(pid):
            with suppress(OSError):
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return total


def test_the_window_stops_at_its_size_and_opens_by_what_was_taken() -> None:
    async def scenario() -> None:
        window, sent = Window(), []

        async def send() -> None:
            for number in range(5):
                await window.take(WINDOW_BYTES)
                sent.append(number)

        sending = asyncio.create_task(send())
        await asyncio.sleep(0)
        assert sent == [0]
        window.give_back(WINDOW_BYTES - 1)
        await asyncio.sleep(0)
        assert sent == [0, 1]
        window.remove()
        await sending
        assert sent == [0, 1, 2, 3, 4]

    asyncio.run(scenario())
