"""The node launcher: one process per job and node that starts this node's process sets, watches them and reports.

It passes messages between ranks (Unix socket) and the supervisor (authenticated TCP) and understands few of them. When the
supervisor is gone it ends all it started. Standard library only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import shutil
import signal
import stat
import sys
import time
import traceback
from asyncio import StreamReader, StreamWriter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from flexmpi import event_loop
from flexmpi.errors import LinkError
from flexmpi.protocol.frames import (
    HEARTBEAT_S,
    NONCE_BYTES,
    PROOF_BYTES,
    SILENT_HEARTBEATS,
    Frames,
    Message,
    check_proof,
    proof,
)
from flexmpi.protocol.rank_start import SignalState
from flexmpi.runtime.launcher.node_files import NodeFiles
from flexmpi.runtime.launcher.node_meter import NodeMeter
from flexmpi.runtime.launcher.sets_here import SetsHere
from flexmpi.runtime.launcher.window import Window
from flexmpi.runtime.launcher.world import NO_SIGNALS
from flexmpi.runtime.machine import processes
from flexmpi.runtime.machine.energy import POWERCAP
from flexmpi.runtime.machine.processes import FILES_NAME, SOCKET_NAME
from flexmpi.runtime.machine.tasks import Tasks

CONNECT_LIMIT_S = 10.0
END_LIMIT_S = 5.0
"""How long the end of a process set that was killed may take."""


class Launcher:
    """One node's launcher.

    Parameters
    ----------
    node
        The node's name in this job.
    folder
        A private folder, the launcher's to fill and remove.
    powercap
        Where the kernel shows this machine's energy meters.
    signals
        What the user's environment ignores and blocks.
    """

    def __init__(
        self, node: str, folder: Path, *, powercap: Path = POWERCAP, signals: SignalState = NO_SIGNALS
    ) -> None:
        self._node = node
        self._folder = folder
        self._ranks: dict[tuple[int, int], StreamWriter] = {}
        self._tasks = Tasks(self._failed)
        self._silent_heartbeats = 0
        self._supervisor_is_suspended = False
        self._socket = folder / SOCKET_NAME
        self._window = Window()
        self._meter = NodeMeter(powercap)
        self._files = NodeFiles(folder / FILES_NAME, self._tasks)
        self._sets = SetsHere(
            folder, self._tasks, send=self._send, window=self._window, signals=signals, on_failure=self._failed,
            is_connected=self._is_connected, spared=lambda: self._meter.children,
        )  # fmt: skip

    async def run(self, addresses: Sequence[str], key: bytes, *, request: int) -> None:
        """Serve the supervisor until it says stop or is gone, then end everything started here.

        Parameters
        ----------
        addresses
            Where the supervisor may be found, the best first.
        key
            The job's key.
        request
            By which number the supervisor asked for this launcher.

        Raises
        ------
        LinkError
            No supervisor that knows the key answers at any of the addresses.
        """
        reader, self._writer, self._frames = await _reach(addresses, key)
        server = pulse = None
        try:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._send, "draining")
            server = await asyncio.start_unix_server(self._admit_rank, self._socket, limit=1 << 24)
            self._files.open()
            self._sets.open()
            self._send(
                "hello",
                request=request,
                node=self._node,
                pid=os.getpid(),
                host=os.uname().nodename,
                folder=str(self._folder),
                cores=sorted(os.sched_getaffinity(0)),
                **self._meter.introduction(),
            )
            pulse = self._tasks.spawn(self._heartbeat())
            await self._serve_supervisor(reader)
        finally:
            if pulse is not None:
                pulse.cancel()
            await self._end_everything()
            if server is not None:
                server.close()
            await self._hang_up()

    async def _serve_supervisor(self, reader: StreamReader) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                self._silent_heartbeats, self._supervisor_is_suspended = 0, False
                for message in self._frames.feed(data):
                    if message["kind"] == "stop":
                        return
                    try:
                        self._obey(message)
                    except Exception as error:
                        self._failed(error)

    def _obey(self, message: Message) -> None:
        match message["kind"]:
            case "start":
                self._tasks.spawn(self._sets.run(message))
            case "host":
                self._tasks.spawn(self._sets.host(message))
            case "unhost":
                self._tasks.spawn(self._sets.unhost(message["pset"]))
            case "rank":
                self._pass_on(message)
            case "bind":
                self._bind(message)
            case "kill":
                self._sets.kill(message["pset"])
            case "look":
                self._send("seen", stopped=processes.stopped(message["pids"]))
            case "energy":
                self._send("energy", request=message["request"], **self._meter.spent())
            case "probe":
                self._tasks.spawn(self._probe(message))
            case "taken":
                self._window.give_back(message["bytes"])
            case "suspended":
                self._supervisor_is_suspended = True

    def _failed(self, error: BaseException) -> None:
        """Report what has gone wrong here, so that the job ends for it: nobody would do what was to be done."""
        *_, last = traceback.extract_tb(error.__traceback__) or [None]
        where = "" if last is None else f" ({Path(last.filename).name}, line {last.lineno})"
        self._send("failed", why=f"{type(error).__name__}: {error}{where}")

    async def _probe(self, message: Message) -> None:
        """Find out which hardware events this node can count."""
        self._send("probed", request=message["request"], **await self._meter.probe(message["events"]))

    async def _heartbeat(self) -> None:
        # Counted, not timed: a machine or terminal that was suspended must not look like a dead supervisor.
        while self._silent_heartbeats < SILENT_HEARTBEATS or self._supervisor_is_suspended:
            await asyncio.sleep(HEARTBEAT_S)
            self._silent_heartbeats += 1
            self._meter.update()
            self._send("alive")
        self._writer.transport.abort()

    def _send(self, kind: str, **fields: object) -> None:
        if not self._writer.is_closing():
            self._writer.write(self._frames.encode({"kind": kind, **fields}))

    def _admit_rank(self, reader: StreamReader, writer: StreamWriter) -> None:
        self._tasks.spawn(self._serve_rank(reader, writer))

    async def _serve_rank(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Pass a rank's messages on; the first is its hello, and an end without a bye is a loss."""
        rank, pid, ended_well = None, 0, False
        with suppress(ConnectionError):
            # What a rank was saying when it was killed is no message.
            while (line := await reader.readline()).endswith(b"\n"):
                message = json.loads(line)
                if rank is None:
                    rank = (int(message["pset"]), int(message["local_rank"]))
                    self._ranks[rank] = writer
                    pid = int(message["pid"])
                    self._sets.see_rank(*rank, pid)
                ended_well = message["kind"] == "bye"
                if message["kind"] == "session":
                    self._sets.note_shared_memory(pid)
                    if message.get("untouched"):
                        self._sets.keep_warm(rank[0])
                self._send("rank", pset=rank[0], local_rank=rank[1], message=message)
        writer.close()
        if rank is not None:
            self._ranks.pop(rank, None)
            if not ended_well:
                self._send("rank", pset=rank[0], local_rank=rank[1], message={"kind": "lost"})

    def _is_connected(self, pset: int) -> bool:
        return any(number == pset for number, _ in self._ranks)

    def _pass_on(self, message: Message) -> None:
        line = json.dumps(message["message"]).encode() + b"\n"
        for local_rank in message["local_ranks"]:
            if (writer := self._ranks.get((message["pset"], local_rank))) is not None:
                writer.write(line)

    def _bind(self, message: Message) -> None:
        """Bind ranks, with all their threads, to cores."""
        error = None
        for pid, cores in message["cores"].items():
            try:
                processes.bind(int(pid), cores)
            except OSError as problem:
                error = f"process {pid}: {problem.strerror}"
        self._send("bound", request=message["request"], error=error)

    async def _end_everything(self) -> None:
        self._window.remove()
        self._sets.kill_all()
        self._files.close()
        await self._tasks.ended(limit_s=END_LIMIT_S)
        patient_until = time.monotonic() + processes.CLEAR_LIMIT_S
        while processes.end_descendants(at_once=time.monotonic() > patient_until):
            await asyncio.sleep(0.01)
        _remove(self._folder)
        self._sets.close()

    async def _hang_up(self) -> None:
        self._writer.close()
        with suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(END_LIMIT_S):
                await self._writer.wait_closed()


async def _reach(addresses: Sequence[str], key: bytes) -> tuple[StreamReader, StreamWriter, Frames]:
    """Connect to the first address at which a supervisor proves that it is ours."""
    problems = []
    for address in addresses:
        host, _, port = address.rpartition(":")
        try:
            async with asyncio.timeout(CONNECT_LIMIT_S):
                reader, writer = await asyncio.open_connection(host, int(port))
                return reader, writer, await _shake_hands(reader, writer, key)
        except (LinkError, OSError, EOFError, TimeoutError) as error:
            problems.append(f"{address}: {error or type(error).__name__}")
    raise LinkError(f"no supervisor answers ({'; '.join(problems)})")


async def _shake_hands(reader: StreamReader, writer: StreamWriter, key: bytes) -> Frames:
    """Prove to each other that both ends know the job's key."""
    own = secrets.token_bytes(NONCE_BYTES)
    nonces = await reader.readexactly(NONCE_BYTES) + own
    writer.write(own + proof(key, "launcher", nonces))
    check_proof(key, "supervisor", nonces, await reader.readexactly(PROOF_BYTES))
    return Frames(key, "launcher", nonces)


def _remove(folder: Path) -> None:
    """Remove a launcher's folder; if it is the last, also that of its job on virtual nodes, whose supervisor may be dead."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.parent.name.startswith(processes.FOLDER_PREFIX):
        with suppress(OSError):
            folder.parent.rmdir()


def _remove_empty_output() -> None:
    """Remove the output file of a companion job if nothing was written there: there is one for each node that was added."""
    with suppress(OSError):
        status, path = os.fstat(1), Path("/proc/self/fd/1").readlink()
        if stat.S_ISREG(status.st_mode) and status.st_size == 0 and path.name.startswith(processes.FOLDER_PREFIX):
            path.unlink()


def _signals() -> SignalState:
    """Return what this process was started to ignore and to block; every Python ignores two signals by itself."""
    ignored = {number for number in signal.valid_signals() if signal.getsignal(number) is signal.SIG_IGN}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    return SignalState(frozenset(ignored - {signal.SIGPIPE, signal.SIGXFSZ}), frozenset(blocked))


def main() -> None:
    """Run a node launcher; the supervisor's address and the job's key are in the environment."""
    parser = argparse.ArgumentParser(prog="flexmpi.runtime.launcher", description=main.__doc__)
    parser.add_argument("--node", default=os.environ.get("SLURMD_NODENAME") or os.uname().nodename)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    signals = _signals()
    # Ctrl-C and a closed terminal are the supervisor's to act on.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # Until a supervisor is there that decides what a SIGTERM means.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    processes.adopt_orphans()
    processes.allow_many_open_files()
    addresses = os.environ.pop("FLEXMPI_SUPERVISOR").split(",")
    key, request = bytes.fromhex(os.environ.pop("FLEXMPI_KEY")), int(os.environ.pop("FLEXMPI_REQUEST"))
    powercap = Path(os.environ.pop("FLEXMPI_POWERCAP", POWERCAP))
    folder = options.folder or processes.private_folder()
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        event_loop.run(
            Launcher(options.node, folder, powercap=powercap, signals=signals).run(addresses, key, request=request)
        )
        _remove_empty_output()
    except SystemExit:
        _remove(folder)
        raise
    except (LinkError, OSError, EOFError) as error:
        _remove(folder)
        sys.exit(f"flexmpi: node launcher of {options.node}: {error or type(error).__name__}")
