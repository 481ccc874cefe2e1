"""The three sessions of the FlexMPI user manual, replayed: our output has the manual's lines, letter by letter but for the
figures, and in the manual's order. The differences are in the two tables below, and in docs/manual.md.
"""

from __future__ import annotations

import queue
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flexmpi.cli.send import ask
from flexmpi.protocol.address import Address
from tests.applications import REPOSITORY

LIMIT_S = 90.0

START = """
Host compute-1 maxprocs is 12. ID is 0
[DEBUG] Initializing attribute successfully
[DEBUG] Setting detached state successfully
[DEBUG] Creating thread successfully
[1] Process spawned in compute-1 | Data loaded in 0.003427 secs.
[0] Process spawned in compute-1 | Data loaded in 0.006211 secs.
[0] Configuration: dim: 500 itmax: 10000 diff_tol: 0.000010 cpu_intensity: 100 com_intensity: 1 IO_intensity: 70
Policy is EMPI_Monitor_malleability_triggered
Iter: 100 FLOPs: 36709648321 MFLOPs:: 5046.735101 RTIME:: 7.273940 CTIME:: 0.016031 IOTime:: 0.000000 Size: 2
Policy is EMPI_Monitor_malleability_triggered
Iter: 200 FLOPs: 36302258290 MFLOPs:: 5041.587494 RTIME:: 7.200561 CTIME:: 0.000592 IOTime:: 0.000000 Size: 2
"""

GROW = """
Received packet from 10.0.40.12:52278 Data: 6:localhost:2
Command number is 6
Command: Create 2 processes in compute node: localhost
Sent 0 bytes as response
Policy is EMPI_Monitor_malleability_triggered
Spawn 2 at 43.300992
Iter: 600 FLOPs: 36302257986 MFLOPs:: 5041.678475 RTIME:: 7.200431 CTIME:: 0.000573 IOTime:: 0.000000 Size: 4
[2] Process spawned in compute-1 at 601 | Data received in 0.001189 secs.
[3] Process spawned in compute-1 at 601 | Data received in 0.001174 secs.
"""

SHRINK = """
Received packet from 10.0.40.12:37057 Data: 6:lhost:-1
Command number is 6
Command: Create -1 processes in compute node: lhost
Sent 0 bytes as response
Policy is EMPI_Monitor_malleability_triggered
Remove 1 at 61.685445
Process [3] removed from compute-1
Iter: 1100 FLOPs: 18407621625 MFLOPs:: 5116.241127 RTIME:: 3.597880 CTIME:: 0.061216 IOTime:: 0.000000 Size: 3
"""

FOUR_NODES = """
Host compute-1 maxprocs is 12. ID is 0
Host compute-2 maxprocs is 12. ID is 1
Host compute-3 maxprocs is 12. ID is 2
[DEBUG] Initializing attribute successfully
[DEBUG] Setting detached state successfully
[DEBUG] Creating thread successfully
[1] Process spawned in compute-1 | Data loaded in 0.003422 secs.
[0] Process spawned in compute-1 | Data loaded in 0.006392 secs.
[0] Configuration: dim: 500 itmax: 10000 diff_tol: 0.000010 cpu_intensity: 100 com_intensity: 1 IO_intensity: 70
Policy is EMPI_Monitor_malleability_triggered
Iter: 100 FLOPS: 36703503582 SMFLOS:: 5045.011583 RTIME:: 7.275207 CTIME:: 0.014139 IOTime:: 0.000000 Size: 2
Received packet from 10.0.40.12:38308 Data: 6:node1:2:node2:1:node3:3
Command number is 6
Command: Create 2 processes in compute node: node1
Command: Create 1 processes in compute node: node2
Command: Create 3 processes in compute node: node3
Sent 0 bytes as response
Policy is EMPI_Monitor_malleability_triggered
Spawn 6 at 7.227459
Host list: compute-1:2,compute-2:1,compute-3:3
[5] Process spawned in compute-3 at 301 | Data received in 0.001871 secs.
[4] Process spawned in compute-2 at 301 | Data received in 0.001887 secs.
Spawn cost:: process_creation= 0.924374 data_redistribution= 0.002459 LoadBalance_computation= 0.000001
Iter: 300 FLOPS: 36367660864 SMFLOS:: 5049.052803 RTIME:: 7.202868 CTIME:: 0.023683 IOTime:: 0.000000 Size: 8
[3] Process spawned in compute-1 at 301 | Data received in 0.002502 secs.
"""

INTERVAL = "Iter: N FLOPs: n/a MFLOPs:: n/a RTIME:: F PTIME:: F CTIME:: F IOTime:: F Size: N"
CHANGED = {
    # PTIME is the C source's, the manual leaves it out; without hardware counters a figure is n/a.
    "Iter: N FLOPs: N MFLOPs:: F RTIME:: F CTIME:: F IOTime:: F Size: N": INTERVAL,
    # The manual's own misprint in its last session.
    "Iter: N FLOPS: N SMFLOS:: F RTIME:: F CTIME:: F IOTime:: F Size: N": INTERVAL,
    # At the start and at a change only, by our name.
    "Policy is EMPI_Monitor_malleability_triggered": "Policy is triggered",
}
LEFT_OUT = {
    # There is no such thread.
    "[DEBUG] Initializing attribute successfully",
    "[DEBUG] Setting detached state successfully",
    "[DEBUG] Creating thread successfully",
}
ADDED = {
    "Listening for commands at UDP ADDRESS",
    # The manual has these two in its last session only, and the third is the C source's.
    "Host list: HOSTS",
    "Spawn cost:: process_creation= F data_redistribution= F LoadBalance_computation= F",
    "Removal cost:: process_destruction= F data_redistribution= F LoadBalance_computation= F",
}
UNORDERED = {
    # Printed by rank 0 and by the runtime, which do not wait for each other; and the policy is known from the start.
    "[N] Configuration: dim: N itmax: N diff_tol: F cpu_intensity: N com_intensity: N IO_intensity: N",
    "Policy is triggered",
}


def shape(line: str) -> str:
    """Put placeholders for what differs from run to run."""
    line = re.sub(r"\d+\.\d+\.\d+\.\d+:\d+", "ADDRESS", line)
    line = re.sub(r"(?<=Host list: )\S+", lambda found: re.sub(r"compute-\d:\d+(,|$)", "", found[0]) or "HOSTS", line)
    line = re.sub(r"(?<=Data: )6(:\w+:-?\d)+$", "COMMAND", line)
    line = re.sub(r"(?<=compute node: )\w+", "ALIAS", line)
    line = re.sub(r"compute-\d", "HOST", line)
    return re.sub(r"-?\b\d+\b", "N", re.sub(r"\b\d+\.\d{6}\b", "F", line))


def in_order(shapes: list[str]) -> list[str]:
    """Return each shape once, where it first appeared."""
    return [each for each in dict.fromkeys(shapes) if each not in UNORDERED]


def expected_shapes(session: str) -> list[str]:
    """Return the shapes of the manual's lines, the documented differences applied."""
    shapes = [shape(line) for line in session.splitlines() if line]
    return [CHANGED.get(each, each) for each in shapes if each not in LEFT_OUT]


class Console:
    """A command prompt in which one of the manual's scripts runs."""

    def __init__(self, script: Path, *arguments: str) -> None:
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            [script, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._arriving: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        found = self.wait_for(r"Listening for commands at UDP 127.0.0.1:(\d+)")
        self._address = Address("127.0.0.1", int(found[1]))

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._arriving.put(line.rstrip("\n"))

    def wait_for(self, pattern: str) -> re.Match[str]:
        end = time.monotonic() + LIMIT_S
        while True:
            try:
                self.lines.append(self._arriving.get(timeout=max(0.0, end - time.monotonic())))
            except queue.Empty:
                raise AssertionError(f"no line {pattern!r} within {LIMIT_S} s; the last: {self.lines[-3:]}") from None
            if found := re.fullmatch(pattern, self.lines[-1]):
                return found

    def send(self, command: str) -> None:
        reply = ask(self._address, command)
        assert reply.startswith("ok: "), reply

    def end(self) -> str:
        """End it by the manual's command 5 and return what it wrote as errors; what is printed from now on does not count."""
        self.send("5:")
        assert self._process.wait(LIMIT_S) == 143
        assert self._process.stderr is not None
        return self._process.stderr.read()

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(LIMIT_S)
        self._reader.join(LIMIT_S)
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()


def with_change(script: Path, change: str, folder: Path) -> Path:
    """Return a copy of a script in which ranks change otherwise, with all beside it that it needs."""
    copy = folder / "examples" / script.name
    copy.parent.mkdir()
    for needed in (".venv", "configuration_files", "examples/jacobi.py"):
        (folder / needed).symlink_to(REPOSITORY / needed)
    copy.write_text(script.read_text().replace("exec flexmpi run ", f"exec flexmpi run --change={change} "))
    copy.chmod(0o755)
    return copy


@pytest.fixture
def console(change: str, tmp_path: Path) -> Iterator[Callable[..., Console]]:
    """Start the manual's scripts: as they are, or with an option in them for ranks that do not join."""
    opened: list[Console] = []

    def start(name: str, *arguments: str) -> Console:
        script = REPOSITORY / "examples" / name
        opened.append(Console(script if change == "join" else with_change(script, change, tmp_path), *arguments))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


def check(lines: list[str], manual: str) -> None:
    ours = [shape(line) for line in lines]
    theirs = expected_shapes(manual)
    assert set(ours) - set(theirs) <= ADDED, "lines that the manual does not have"
    assert set(theirs) - set(ours) == set(), "lines of the manual that are missing"
    assert in_order([each for each in ours if each in theirs]) == in_order(theirs)


@pytest.mark.both_changes
def test_the_session_of_execute1_and_its_shrink(console):
    session = console("execute1.sh", "2", "0", "6667", "1")
    session.wait_for("Iter: 200 .* Size: 2")
    session.send("6:localhost:2")
    session.wait_for("Spawn cost:: .*")
    session.wait_for("Iter: .* Size: 4")
    session.send("6:lhost:-1")
    session.wait_for("Removal cost:: .*")
    session.wait_for("Iter: .* Size: 3")
    assert session.end() == ""
    check(session.lines, START + GROW + SHRINK)
    configuration = next(line for line in START.splitlines() if "Configuration" in line)
    assert session.lines.count(configuration) == 1


@pytest.mark.both_changes
def test_the_session_of_execute3_on_four_nodes(console, change):
    session = console("execute3.sh", "2", "0", "6667", "1")
    session.wait_for("Iter: 100 .* Size: 2")
    session.send("6:node1:2:node2:1:node3:3")
    session.wait_for("Host list: compute-1:2,compute-2:1,compute-3:3")
    session.wait_for("Spawn cost:: .*")
    session.wait_for("Iter: .* Size: 8")
    assert session.end() == ""
    check(session.lines, FOUR_NODES)
    spawned = [re.match(r"\[(\d)\] Process spawned in (\S+) at (\d+)", line) for line in session.lines]
    # A rank that joins takes its number between the others; by handover the ranks of a node that was there come first.
    numbers = {"join": (1, 2, 3, 5, 6, 7), "handover": (2, 3, 4, 5, 6, 7)}[change]
    nodes = ("compute-1", "compute-1", "compute-2", "compute-3", "compute-3", "compute-3")
    assert [(int(found[1]), found[2]) for found in spawned if found] == list(zip(numbers, nodes, strict=True))


@pytest.mark.parametrize("script", ["execute1.sh", "execute3.sh"])
def test_a_script_without_its_four_arguments_says_what_it_expects(script):
    refused = subprocess.run([REPOSITORY / "examples" / script, "2"], capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert f"expected PROCESSES PORT REPORT_PORT ID, for example: {script} 2 6666 6667 1" in refused.stderr
