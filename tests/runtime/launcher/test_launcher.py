"""The node launcher: how it finds its supervisor, how long it waits for it, and what it gives its ranks."""

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
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from flexmpi.runtime.launcher.ranks_environment import ranks_environment
from flexmpi.runtime.providers.provider import launcher_command, launcher_environment
from tests.applications import COREFILES, PROGRAMS, Application, command_line
from tests.runtime.gateways import LIMIT_S, Supervisor, supervisor

Start = Callable[..., Application]

HEARTBEAT_S = 0.1
TWO_NODES = (f"--corefile={COREFILES / 'demo.core'}", "--interval=0.05s", "-q")
COUNTING = (PROGRAMS / "counting.py", "--pause=0.001", "--iterations=1000000")


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
            order = {"pset": 0, "ranks": 1, "here": [0], "sockets": [], "command": ["script.py"], "environment": {}}
            ours.line.send("start", **order, directory=str(nowhere))
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
        "I_MPI_HYDRA_BOOTSTRAP": "slurm",
        "I_MPI_PMI_LIBRARY": "/usr/lib/libpmi.so",
        "OMPI_COMM_WORLD_RANK": "1",
        "PRTE_LAUNCHED": "1",
        "OMPI_MCA_btl": "self,sm",
        "I_MPI_FABRICS": "shm",
        "FLEXMPI_KEY": "secret",
        "UCX_LOG_FILE": "/my/log",
    }
    made = ranks_environment(inherited, {"FLEXMPI_PSET": "3"}, Path("/private"))
    assert made["HOME"] == "/home/u"
    assert (made["TMPDIR"], made["FLEXMPI_TMPDIR"]) == ("/private", "/scratch")
    assert (made["SLURM_CONF"], made["FLEXMPI_PSET"], made["OMP_NUM_THREADS"]) == ("/etc/slurm.conf", "3", "1")
    assert made["UCX_LOG_FILE"] == "/my/log"
    assert made["HWLOC_XMLFILE"] == "", "hydra's file in /tmp is not asked for"
    assert (made["OMPI_MCA_btl"], made["I_MPI_FABRICS"]) == ("self,sm", "shm"), "what users set for their library"
    assert not {"SLURM_JOB_ID", "PMI_RANK", "HYDRA_HOST_FILE", "FLEXMPI_KEY"} & made.keys()
    assert not {"I_MPI_HYDRA_BOOTSTRAP", "I_MPI_PMI_LIBRARY", "OMPI_COMM_WORLD_RANK", "PRTE_LAUNCHED"} & made.keys()
    assert ranks_environment({"OMP_NUM_THREADS": "4"}, {}, Path("/private"))["OMP_NUM_THREADS"] == "4"


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
