"""The ranks of a process set that live on this node: what they print, and their end, with nothing left over.

For node launchers; standard library only. The ranks' output does not go through ``mpiexec``, which would mix their lines: each
rank writes into named pipes of its own. Nor does how they end, of which no ``mpiexec`` gives a true account: their shims tell it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from asyncio import StreamReader
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

from flexmpi.protocol.rank_start import ENDS, RANK_NAMES
from flexmpi.runtime.launcher.output import LineReader, Notice
from flexmpi.runtime.launcher.starting_ranks import LOOK_S, StartingRanks
from flexmpi.runtime.machine import processes
from flexmpi.runtime.machine.tasks import Tasks

STREAMS = ("stdout", "stderr")
CHUNK_BYTES = 1 << 16
SILENCE_S = 2.0
"""What still holds a rank's output open so long after its process set has ended, without a word, is not listened to."""

Output = Callable[[int, str, bytes], Awaitable[None]]
Ended = Callable[[int, int], None]
"""Takes a rank's number and how it has ended, as ``os.waitpid`` tells it."""


class RanksHere:
    """The ranks of one process set on this node.

    Parameters
    ----------
    numbers
        Their numbers in their world.
    folder
        To be made, and removed at the end.
    label
        The value of ``FLEXMPI_OUTPUT`` in their environment, by which whatever is left of them is found.
    send_output
        Takes a rank's number, a stream's name and whole lines; waits while the reader is slow.
    on_ended
        Called with each rank that has come to its end, in this order, but not with those that were ended with their shim.
    on_failure
        Called with an error of this module that nobody else would see.

    Attributes
    ----------
    on_ended
        As above.
    sessions
        The sessions in which these ranks and their children are: of each rank its own, or of all those of their ``mpiexec``.
    """

    def __init__(
        self,
        numbers: Sequence[int],
        folder: Path,
        label: str,
        *,
        send_output: Output,
        on_ended: Ended,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self.sessions: set[int] = set()
        self._starting = StartingRanks((), 0.0)
        self._numbers = numbers
        self._folder = folder
        self._label = label
        self._send_output = send_output
        self.on_ended = on_ended
        self._forwarding = Tasks(on_failure)
        self._listening: set[asyncio.Task[None]] = set()
        self._writing_ends: list[int] = []
        self._passed_on = 0
        self._sending = 0

    async def open(self) -> None:
        """Be ready for them; OSError where that cannot be."""
        self._starting = StartingRanks(self._numbers, time.monotonic())
        self._folder.mkdir()
        ends, writing = await _named_pipe(self._folder / ENDS)
        self._writing_ends.append(writing)
        self._listening.add(self._forwarding.spawn(self._hear_ends(ends)))
        for number in self._numbers:
            for name in STREAMS:
                reader, writing = await _named_pipe(self._folder / f"{name}.{number}")
                self._writing_ends.append(writing)
                self.listen(reader, number, name)

    def listen(self, stream: StreamReader | None, rank: int, name: str, notice: Notice | None = None) -> None:
        """Pass on what comes by a stream, as printed by a rank, but what is a ``notice``."""
        if stream is not None:
            self._listening.add(self._forwarding.spawn(self._forward(stream, rank, name, notice)))

    def greeted(self, number: int, pid: int) -> None:
        """A rank has said hello; its connection tells from now on that it lives."""
        with suppress(ProcessLookupError):
            self.sessions.add(os.getsid(pid))
        self._starting.greeted(number, time.monotonic())

    async def watch(self, on_lost: Callable[[int], None]) -> None:
        """Call ``on_lost`` with the number of each rank that ends before it has said hello."""
        while not self._starting.are_all_known:
            await asyncio.sleep(LOOK_S)
            living = processes.numbered(f"FLEXMPI_OUTPUT={self._label}", RANK_NAMES)
            for number in self._starting.look(living, time.monotonic()):
                on_lost(number)

    def kill(self) -> None:
        """End at once what lives of them."""
        processes.end(self._left_overs())

    async def end(self) -> None:
        """See that nothing of them is left, and that all they have printed is passed on, however slow its reader is."""
        await self.end_left_overs()
        for descriptor in self._writing_ends:
            os.close(descriptor)
        self._writing_ends.clear()
        listening = self._listening
        while listening:
            before = self._passed_on
            _, listening = await asyncio.wait(listening, timeout=SILENCE_S)
            if listening and not self._sending and self._passed_on == before:
                for task in listening:
                    task.cancel()

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)

    async def end_left_overs(self) -> None:
        """Kill what is left of them: ranks and their children, wherever they have been adopted."""
        patient_until = time.monotonic() + processes.CLEAR_LIMIT_S
        while left := self._left_overs():
            if time.monotonic() < patient_until:
                processes.end(left)
            else:
                processes.kill(left)
            await asyncio.sleep(0.01)

    def _left_overs(self) -> list[int]:
        """Return what is left of their processes: as they were started, or programs that they have executed since."""
        return [*processes.having(f"FLEXMPI_OUTPUT={self._label}"), *processes.in_sessions(self.sessions)]

    async def _hear_ends(self, stream: StreamReader) -> None:
        while (line := await stream.readline()).endswith(b"\n"):
            number, status = map(int, line.split())
            self._starting.ended(number)
            self.on_ended(number, status)

    async def _forward(self, stream: StreamReader, rank: int, name: str, notice: Notice | None) -> None:
        lines = LineReader()
        while data := await stream.read(CHUNK_BYTES):
            await self._pass_on(rank, name, lines.feed(data), notice)
        await self._pass_on(rank, name, lines.close(), notice)
        if notice is not None:
            await self._pass_on(rank, name, notice.close())

    async def _pass_on(self, rank: int, name: str, lines: list[bytes], notice: Notice | None = None) -> None:
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
