"""The node launcher and its line to the supervisor: who is let in, who is taken for dead, and what the ranks print."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from flexmpi.protocol.frames import NONCE_BYTES, PROOF_BYTES, Frames, Message, proof
from flexmpi.runtime.launcher.launcher import WINDOW_BYTES, Window
from flexmpi.runtime.launcher.world import rank_environment
from flexmpi.runtime.machine.processes import descendants
from flexmpi.runtime.providers import gateway as gateways
from flexmpi.runtime.providers.gateway import Gateway, LauncherLine
from flexmpi.runtime.providers.provider import launcher_command, launcher_environment
from tests.applications import COREFILES, PROGRAMS, Application, Leftovers, command_line, wait_until

Start = Callable[..., Application]

LIMIT_S = 20.0
HEARTBEAT_S = 0.1
TWO_NODES = (f"--corefile={COREFILES / 'demo.core'}", "--interval=0.05s", "-q")
COUNTING = (PROGRAMS / "counting.py", "--pause=0.001", "--iterations=1000000")


# The gateway


class Supervisor:
    """What a gateway reports to, in a test."""

    def __init__(self) -> None:
        self.heard: list[Message] = []
        self.lost: list[str] = []
        self.news = asyncio.Event()
        self.gateway = Gateway(self.hear, lambda line, hello: True, self.lose)

    def hear(self, node: str, message: Message) -> None:
        self.heard.append(message)
        self.news.set()

    def lose(self, node: str) -> None:
        self.lost.append(node)
        self.news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not condition():
                self.news.clear()
                await self.news.wait()

    @property
    def line(self) -> LauncherLine:
        return self.gateway.lines["n0"]

    @property
    def port(self) -> int:
        return int(self.gateway.addresses[0].rpartition(":")[2])


@asynccontextmanager
async def supervisor() -> AsyncIterator[Supervisor]:
    """A gateway that listens, and hears nothing from a real job."""
    opened = Supervisor()
    await opened.gateway.open()
    try:
        yield opened
    finally:
        opened.gateway.stop_launchers()
        await opened.gateway.close()


async def admitted(port: int, key: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, Frames]:
    """Connect as a launcher does."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    nonces = await reader.readexactly(NONCE_BYTES) + bytes(NONCE_BYTES)
    writer.write(bytes(NONCE_BYTES) + proof(key, "launcher", nonces))
    assert await reader.readexactly(PROOF_BYTES) == proof(key, "supervisor", nonces)
    return reader, writer, Frames(key, "launcher", nonces)


HELLO = {"kind": "hello", "node": "n0", "request": 1, "cores": [0]}


def test_who_knows_the_key_is_heard() -> None:
    async def scenario() -> None:
        async with supervisor() as ours:
            _, writer, frames = await admitted(ours.port, ours.gateway.key)
            writer.write(frames.encode(HELLO) + frames.encode({"kind": "alive"}))
            await ours.until(lambda: len(ours.heard) == 2)
            assert ours.line.cores == {0}
            writer.close()
            await ours.until(lambda: ours.lost == ["n0"])
            assert ours.gateway.lines == {}

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "words",
    [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        secrets.token_bytes(1000),
        bytes(NONCE_BYTES) + proof(bytes(32), "launcher", bytes(64)),
    ],
    ids=["nothing", "http", "noise", "another key"],
)
def test_who_does_not_know_the_key_gets_a_nonce_and_nothing_more(words: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateways, "HANDSHAKE_LIMIT_S", 0.2)

    async def scenario() -> None:
        async with supervisor() as ours:
            reader, writer = await asyncio.open_connection("127.0.0.1", ours.port)
            writer.write(words)
            received = b""
            with suppress(ConnectionError):
                async with asyncio.timeout(LIMIT_S):
                    received = await reader.read()
            assert len(received) <= NONCE_BYTES
            writer.close()
            assert (ours.heard, ours.lost, ours.gateway.lines) == ([], [], {})

    asyncio.run(scenario())


def test_a_message_that_was_tampered_with_ends_the_connection_unheard() -> None:
    async def scenario() -> None:
        async with supervisor() as ours:
            _, writer, frames = await admitted(ours.port, ours.gateway.key)
            writer.write(frames.encode(HELLO))
            await ours.until(lambda: bool(ours.heard))
            frame = bytearray(frames.encode({"kind": "pset_ended"}))
            frame[-2] ^= 1
            writer.write(frame)
            await ours.until(lambda: ours.lost == ["n0"])
            assert [message["kind"] for message in ours.heard] == ["hello"]
            writer.close()

    asyncio.run(scenario())


def test_two_hundred_who_say_nothing_keep_no_launcher_out() -> None:
    async def scenario() -> None:
        async with supervisor() as ours:
            silent = [await asyncio.open_connection("127.0.0.1", ours.port) for _ in range(200)]
            _, writer, frames = await admitted(ours.port, ours.gateway.key)
            writer.write(frames.encode(HELLO))
            await ours.until(lambda: len(ours.heard) == 1)
            assert len(ours.gateway._strangers) <= gateways.HANDSHAKES_AT_ONCE
            for _, other in (*silent, (None, writer)):
                other.close()

    asyncio.run(scenario())


def test_a_launcher_that_says_nothing_any_more_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateways, "HEARTBEAT_S", 0.02)

    async def scenario() -> None:
        async with supervisor() as ours:
            _, writer, frames = await admitted(ours.port, ours.gateway.key)
            writer.write(frames.encode(HELLO))
            await ours.until(lambda: ours.lost == ["n0"])
            writer.close()

    asyncio.run(scenario())


def test_a_launcher_that_comes_when_the_job_ends_is_told_to_stop() -> None:
    async def scenario() -> None:
        async with supervisor() as ours:
            ours.gateway.stop_launchers()
            reader, writer, frames = await admitted(ours.port, ours.gateway.key)
            writer.write(frames.encode(HELLO))
            async with asyncio.timeout(LIMIT_S):
                assert frames.feed(await reader.read(1 << 16)) == [{"kind": "stop"}]
            assert ours.heard == []
            writer.close()

    asyncio.run(scenario())


# A real launcher, with a supervisor of the test's own


@asynccontextmanager
async def launcher(
    ours: Supervisor, folder: Path, *, key: bytes | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A node launcher whose heart beats faster."""
    faster = f"from flexmpi.runtime.launcher import launcher; launcher.HEARTBEAT_S = {HEARTBEAT_S}; launcher.main()"
    command = [sys.executable, "-c", faster, "--node=n0", f"--folder={folder}"]
    environment = {**os.environ, **launcher_environment(1, ours.gateway.addresses, key or ours.gateway.key)}
    process = await asyncio.create_subprocess_exec(*command, env=environment, stderr=asyncio.subprocess.PIPE)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def status_of(process: asyncio.subprocess.Process) -> int:
    async with asyncio.timeout(LIMIT_S):
        return await process.wait()


def test_a_launcher_waits_for_a_silent_supervisor_as_long_as_it_should(tmp_path: Path) -> None:
    async def scenario() -> None:
        # The gateway's own heart beats too slowly to be heard.
        async with supervisor() as ours, launcher(ours, tmp_path / "n0") as process:
            await ours.until(lambda: "n0" in ours.gateway.lines)
            began = time.monotonic()
            assert await status_of(process) == 0
            assert time.monotonic() - began > 5 * HEARTBEAT_S
            assert not (tmp_path / "n0").exists()

    asyncio.run(scenario())


def test_a_launcher_waits_longer_for_a_supervisor_that_was_suspended(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with supervisor() as ours, launcher(ours, tmp_path / "n0") as process:
            await ours.until(lambda: "n0" in ours.gateway.lines)
            ours.line.send("suspended")
            # Twice as many of its heartbeats as it would bear otherwise.
            await ours.until(lambda: sum(message["kind"] == "alive" for message in ours.heard) > 12)
            assert process.returncode is None
            ours.line.writer.close()
            assert await status_of(process) == 0

    asyncio.run(scenario())


def test_a_launcher_with_the_wrong_key_is_not_let_in_and_says_so(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with supervisor() as ours, launcher(ours, tmp_path / "n0", key=bytes(32)) as process:
            errors = (await process.communicate())[1].decode()
            assert process.returncode == 1
            assert re.fullmatch(r"flexmpi: node launcher of n0: no supervisor answers \(127.0.0.1:\d+: .*\)\n", errors)
            assert ours.heard == []

    asyncio.run(scenario())


def test_the_last_launcher_of_a_job_removes_its_folder_also_if_it_has_never_reached_the_supervisor(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        of_the_job = tmp_path / "flexmpi-abc"
        of_the_job.mkdir()
        async with supervisor() as ours, launcher(ours, of_the_job / "1", key=bytes(32)) as process:
            assert await status_of(process) == 1
        assert not of_the_job.exists()

    asyncio.run(scenario())


def test_a_launcher_that_is_ended_before_its_supervisor_answers_leaves_no_folder(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        told = launcher_environment(1, [f"127.0.0.1:{silent.getsockname()[1]}"], b"key")
        with subprocess.Popen(launcher_command(), env={**os.environ, **told, "TMPDIR": str(folder)}) as process:
            connection, _ = silent.accept()
            assert list(folder.glob("flexmpi-*"))
            process.terminate()
            assert process.wait(LIMIT_S) == 128 + signal.SIGTERM
            connection.close()
    assert not list(folder.iterdir())


def test_a_process_set_that_cannot_start_is_reported_with_the_reason(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with supervisor() as ours, launcher(ours, tmp_path / "n0"):
            await ours.until(lambda: "n0" in ours.gateway.lines)
            nowhere = tmp_path / "nowhere"
            ours.line.send("start", pset=0, ranks=1, command=["script.py"], directory=str(nowhere), environment={})
            await ours.until(lambda: ours.heard[-1]["kind"] == "pset_ended")
            assert ours.heard[-1]["status"] == 127
            assert ours.heard[-1]["error"] == f"No such file or directory: {nowhere}"
            assert not (tmp_path / "n0" / "pset-0").exists()

    asyncio.run(scenario())


# What ranks are started with


def test_ranks_get_their_users_environment_without_what_would_mislead_mpi() -> None:
    inherited = {
        "HOME": "/home/u",
        "TMPDIR": "/scratch",
        "SLURM_JOB_ID": "7",
        "SLURM_CONF": "/etc/slurm.conf",
        "PMI_RANK": "0",
        "HYDRA_HOST_FILE": "x",
        "FLEXMPI_KEY": "secret",
        "UCX_LOG_FILE": "/my/log",
    }
    made = rank_environment(inherited, {"FLEXMPI_PSET": "3"}, Path("/private"))
    assert made["HOME"] == "/home/u"
    assert (made["TMPDIR"], made["FLEXMPI_TMPDIR"]) == ("/private", "/scratch")
    assert (made["SLURM_CONF"], made["FLEXMPI_PSET"], made["OMP_NUM_THREADS"]) == ("/etc/slurm.conf", "3", "1")
    assert made["UCX_LOG_FILE"] == "/my/log"
    assert made["HWLOC_XMLFILE"] == "", "hydra's file in /tmp is not asked for"
    assert not {"SLURM_JOB_ID", "PMI_RANK", "HYDRA_HOST_FILE", "FLEXMPI_KEY"} & made.keys()
    assert rank_environment({"OMP_NUM_THREADS": "4"}, {}, Path("/private"))["OMP_NUM_THREADS"] == "4"


def test_mpi_opens_the_loopback_interface_only_on_virtual_nodes_unless_the_user_says_otherwise(
    start: Start, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text("import os\nprint(os.environ['UCX_NET_DEVICES'])\n")
    by_itself, as_told = start("-q", script), start("-q", script, environment={"UCX_NET_DEVICES": "all"})
    assert by_itself.finish() == (0, "lo\n", "")
    assert as_told.finish() == (0, "all\n", "")


def test_the_supervisor_does_not_become_an_mpi_process_and_loads_no_more_than_it_needs() -> None:
    program = "import sys, flexmpi.cli.main, flexmpi.cli.run; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, timeout=60, check=True).stdout
    assert not {"mpi4py.MPI", "numpy", "prompt_toolkit", "pydantic", "rich", "zmq"} & set(loaded.decode().split())


# The line under fire, in a real job


def test_strangers_at_the_gateway_disturb_nothing_and_the_key_stays_secret(start: Start) -> None:
    application = start(*TWO_NODES, "-n1", *COUNTING)
    application.wait_for("loop")
    (port,) = listening_ports(application.process.pid)
    strangers = [socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S) for _ in range(200)]
    for number, stranger in enumerate(strangers):
        with suppress(ConnectionError):
            stranger.sendall(secrets.token_bytes(number))
    assert application.change("6:node2:1")["ranks_after"] == 2
    for stranger in strangers:
        stranger.close()
    launchers = [pid for pid in application.processes() if b"flexmpi.runtime.launcher" in command_line(pid)]
    for pid in application.processes():
        known = pid in launchers
        assert (b"FLEXMPI_KEY=" in Path(f"/proc/{pid}/environ").read_bytes()) == known
    keys = {key_of(pid) for pid in launchers}
    assert len(keys) == 1
    assert not [pid for pid in application.processes() if keys & set(command_line(pid).split(b"\0"))]
    assert application.send("5:").startswith("ok: ")
    assert application.finish()[::2] == (143, "")


def key_of(pid: int) -> bytes:
    entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next(entry.partition(b"=")[2] for entry in entries if entry.startswith(b"FLEXMPI_KEY="))


def listening_ports(pid: int) -> list[int]:
    """Return the TCP ports a process listens at."""
    sockets = {str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir() if each.is_symlink()}
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return [int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets]


def test_a_stopped_supervisor_is_waited_for(start: Start) -> None:
    application = start(*TWO_NODES, "-n1", *COUNTING)
    application.wait_for("loop")
    application.process.send_signal(signal.SIGSTOP)
    timer = threading.Timer(2.0, application.process.send_signal, (signal.SIGCONT,))
    timer.start()
    timer.join()
    application.wait_for("sample")
    assert application.change("6:node2:1")["ranks_after"] == 2
    assert application.send("5:").startswith("ok: ")
    assert application.finish()[::2] == (143, "")


# Output


@pytest.fixture
def folder() -> Iterator[Path]:
    """The temporary folder of jobs of which nothing is left when the test is over."""
    leftovers = Leftovers()
    yield leftovers.folder
    leftovers.check()


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
