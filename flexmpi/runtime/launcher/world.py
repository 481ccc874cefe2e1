"""One process set on its node: what runs it, what its ranks print, and its end, with nothing left over.

An ``mpiexec`` runs it, or the node's warm parent has forked it. For node launchers; standard library only. The ranks' output
does not go through ``mpiexec``, which would mix their lines: each rank writes into named pipes of its own.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from asyncio import StreamReader
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from flexmpi.protocol.frames import Message
from flexmpi.protocol.rank_start import NAMES, SIGNALS, SignalState, names_as_text
from flexmpi.runtime.launcher.mpi_starter import find_starter
from flexmpi.runtime.launcher.output import LineReader, TerminationNotice
from flexmpi.runtime.launcher.warm_worlds import WarmParent, WarmWorld
from flexmpi.runtime.machine import processes
from flexmpi.runtime.machine.tasks import Tasks

STREAMS = ("stdout", "stderr")
CHUNK_BYTES = 1 << 16
SILENCE_S = 2.0
"""What still holds a rank's output open so long after its process set has ended, without a word, is not listened to."""

MPIEXEC = -1
"""In place of a rank's number where ``mpiexec`` itself prints."""

NO_SIGNALS = SignalState()
Output = Callable[[int, str, bytes], Awaitable[None]]


@dataclass(frozen=True)
class End:
    """How a process set ended.

    Attributes
    ----------
    status
        Of its ``mpiexec``; negative if a signal ended that. Without one it is that of the first rank that ended badly.
    killed_pid, signal
        The process that a signal ended, by hydra's account where there is an ``mpiexec``; None where there is none.
    error
        Why it could not be started.
    """

    status: int
    killed_pid: int | None = None
    signal: int | None = None
    error: str | None = None


class RunningSet:
    """One process set.

    Parameters
    ----------
    number
        Its number in the job.
    folder
        To be made, and removed at the end.
    send_output
        Takes a rank's number here, a stream's name and whole lines; waits while the reader is slow.
    on_start
        Called when its ranks have been started, with True if they were forked by a warm parent.
    on_failure
        Called with an error of this module that nobody else would see.
    signals
        What the user's environment ignores and blocks, which is not what ranks inherit.

    Attributes
    ----------
    sessions
        The processes of its ranks, each the leader of a session in which its children are.
    """

    def __init__(
        self,
        number: int,
        folder: Path,
        *,
        send_output: Output,
        on_start: Callable[[bool], None],
        on_failure: Callable[[BaseException], None],
        signals: SignalState = NO_SIGNALS,
    ) -> None:
        self.sessions: set[int] = set()
        self._number = number
        self._signals = signals
        self._folder = folder
        self._send_output = send_output
        self._on_start = on_start
        self._forwarding = Tasks(on_failure)
        self._process: Process | None = None
        self._world: WarmWorld | None = None
        self._killed = False
        self._passed_on = 0
        self._sending = 0

    @property
    def pids(self) -> list[int]:
        """The processes that are waited for here: ``mpiexec``, or ranks that were forked."""
        if self._world is not None:
            return self._world.pids
        return [] if self._process is None else [self._process.pid]

    def environment(self, order: Message, socket: Path) -> dict[str, str]:
        """Return what its ranks are started with."""
        own = {
            **order["environment"],
            "FLEXMPI_SOCKET": str(socket),
            "FLEXMPI_OUTPUT": str(self._folder),
            "FLEXMPI_LAUNCHER": str(os.getpid()),
            SIGNALS: self._signals.text(),
        }
        return rank_environment(os.environ, own, self._folder)

    async def run(self, order: Message, *, socket: Path, warm: WarmParent | None = None) -> End:
        """Start it as ordered, from a warm parent where that can be, and see it through to its end."""
        try:
            self._folder.mkdir()
            return await self._run(order, socket, warm)
        except OSError as error:
            return End(127, error=f"{error.strerror}: {error.filename}" if error.filename else str(error))
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def kill(self) -> None:
        """End all its processes at once; `run` then returns."""
        self._killed = True
        living = [pid for pid in self.pids if self._process is None or self._process.returncode is None]
        processes.end([*living, *(child for pid in living for child in processes.descendants(pid))])

    async def _run(self, order: Message, socket: Path, warm: WarmParent | None) -> End:
        outputs = [(rank, name) for rank in range(order["ranks"]) for name in STREAMS]
        pipes = [await _named_pipe(self._folder / f"{name}.{rank}") for rank, name in outputs]
        listening = [self._forward(reader, *whose) for (reader, _), whose in zip(pipes, outputs, strict=True)]
        forwarding = {self._forwarding.spawn(each) for each in listening}
        environment = self.environment(order, socket)
        if warm is None or not await self._fork(order, environment, warm):
            await self._start(order, environment)
        end = await self._see_end(forwarding)
        await self._end_left_overs()
        for _, writing in pipes:
            os.close(writing)
        await self._hear_out(forwarding)
        return end

    async def _fork(self, order: Message, environment: Mapping[str, str], warm: WarmParent) -> bool:
        """Have it forked by the warm parent; False where it has to be started cold, and nothing is left of the attempt."""
        self._world = await warm.fork(order, environment)
        if self._world is None:
            await self._end_left_overs()
            return False
        if self._killed:
            self.kill()
        self._on_start(True)
        return True

    async def _start(self, order: Message, environment: Mapping[str, str]) -> None:
        """Have ``mpiexec`` start it."""
        starter = await find_starter()
        self._process = await asyncio.create_subprocess_exec(
            *starter.command(order["ranks"], order["command"]),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            cwd=order["directory"],
            env=environment,
            start_new_session=True,
            preexec_fn=partial(processes.become_mpiexec, os.getpid()),
        )
        if self._killed:
            self.kill()
        self._on_start(False)

    async def _see_end(self, forwarding: set[asyncio.Task[None]]) -> End:
        if self._world is not None:
            return End(*await self._world.wait())
        assert self._process is not None
        notice = TerminationNotice()
        forwarding.add(self._forwarding.spawn(self._forward(self._process.stdout, MPIEXEC, "stdout", notice)))
        forwarding.add(self._forwarding.spawn(self._forward(self._process.stderr, MPIEXEC, "stderr")))
        status = await self._process.wait()
        return End(status, notice.pid, notice.signal)

    async def _end_left_overs(self) -> None:
        """Kill what ``mpiexec`` has left: ranks and their children, wherever they have been adopted."""
        patient_until = time.monotonic() + processes.CLEAR_LIMIT_S
        while left := self._left_overs():
            if time.monotonic() < patient_until:
                processes.end(left)
            else:
                processes.kill(left)
            await asyncio.sleep(0.01)

    def _left_overs(self) -> list[int]:
        """Return what is left of its processes: as they were started, or programs that they have executed since."""
        return [*processes.having(f"FLEXMPI_OUTPUT={self._folder}"), *processes.in_sessions(self.sessions)]

    async def _hear_out(self, forwarding: set[asyncio.Task[None]]) -> None:
        """Wait until all that was printed is passed on, however slow its reader is."""
        while forwarding:
            before = self._passed_on
            _, forwarding = await asyncio.wait(forwarding, timeout=SILENCE_S)
            if forwarding and not self._sending and self._passed_on == before:
                for task in forwarding:
                    task.cancel()

    async def _forward(
        self, stream: StreamReader | None, rank: int, name: str, notice: TerminationNotice | None = None
    ) -> None:
        if stream is None:
            return
        lines = LineReader()
        while data := await stream.read(CHUNK_BYTES):
            await self._pass_on(rank, name, lines.feed(data), notice)
        await self._pass_on(rank, name, lines.close(), notice)
        if notice is not None:
            await self._pass_on(rank, name, notice.close())

    async def _pass_on(self, rank: int, name: str, lines: list[bytes], notice: TerminationNotice | None = None) -> None:
        own = lines if notice is None else [kept for line in lines for kept in notice.filter(line)]
        if own:
            self._sending += 1
            await self._send_output(rank, name, b"".join(own))
            self._sending -= 1
            self._passed_on += 1


async def _named_pipe(path: Path) -> tuple[StreamReader, int]:
    """Make a named pipe and return its reading end, and a writing end that keeps it from ending before it is closed."""
    os.mkfifo(path, 0o600)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writing = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    reader = StreamReader(limit=CHUNK_BYTES)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb", 0))
    return reader, writing


SMALL_BUFFERS = {
    f"UCX_{transport}_{option}": "64" for transport in ("POSIX", "SYSV") for option in ("FIFO_SIZE", "RX_BUFS_GROW")
}
"""
MPICH never closes its endpoint to a rank that has joined, so every rank of its node keeps that rank's receive buffers mapped
until it ends itself. With 64 buffers in place of UCX's 512 these are 0.5 MB, not 4.2 MB, at the same speed.
"""


def rank_environment(inherited: Mapping[str, str], own: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return the environment of ``mpiexec``, which hands it to its ranks.

    Ranks compute with one thread each unless the user has set ``OMP_NUM_THREADS``: there is one rank a core. What UCX, below
    MPI, has to say must not get into the program's output. Ranks find out for themselves what the machine looks like, which
    takes no time: hydra would tell them by a file, always in /tmp, that stays there when it is killed.
    Nothing of Slurm, of another MPI launcher or of the job's key goes in; ``TMPDIR`` is private to the process set, and a rank
    puts back the one its user had. What is in neither of these two, the user's variables and ``OMP_NUM_THREADS``, ranks hide from
    their children.
    """
    kept = {
        name: value
        for name, value in inherited.items()
        if not name.startswith(("SLURM_", "PMI", "HYDRA_", "FLEXMPI_")) or name == "SLURM_CONF"
    }
    kept.setdefault("OMP_NUM_THREADS", "1")
    names = names_as_text(kept)
    kept.setdefault("UCX_LOG_FILE", "/dev/stderr")
    kept.setdefault("HWLOC_XMLFILE", "")
    for name, value in SMALL_BUFFERS.items():
        kept.setdefault(name, value)
    own = {**own, NAMES: names, "FLEXMPI_TMPDIR": inherited.get("TMPDIR", "")}
    return {**kept, **own, "TMPDIR": str(folder)}
