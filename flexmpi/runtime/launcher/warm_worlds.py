"""The launcher's side of a warm parent: MPI worlds of ranks that it forks, which no ``mpiexec`` looks after.

Standard library only. Whatever goes wrong before the program has begun in a rank, the world is given up and nothing of it
is left, so that it can be started cold.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import socket
import sys
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from flexmpi.protocol.frames import Message
from flexmpi.protocol.warm_parent import CONTROL, LARGEST_ORDER, MOST_RANKS
from flexmpi.runtime.launcher.pmi import Exchange
from flexmpi.runtime.launcher.ranks_here import Ended
from flexmpi.runtime.machine import processes

IMPORT_LIMIT_S = 60.0
INITIALISE_LIMIT_S = 20.0
OWN = ("FLEXMPI_", "PMI_")
"""What names of variables begin with that differ from rank to rank and from process set to process set."""


class WarmParent:
    """A process on this node that has imported what ranks need, and forks them.

    Parameters
    ----------
    order
        That by which a process set has been started; the warm parent serves orders of the same program in the same folder.
    environment
        What ranks of that process set have been started with.
    folder
        The launcher's; process sets have folders in it.
    tell
        Called with nothing when it can fork ranks, and with the reason when it is found to be of no use.
    """

    def __init__(
        self, order: Message, environment: Mapping[str, str], folder: Path, *, tell: Callable[[str], None]
    ) -> None:
        self._served = _common(order)
        self._command, self._directory = order["command"], order["directory"]
        # As long as any that is to be written in its place.
        self._environment = {**environment, "FLEXMPI_OUTPUT": str(folder / f"pset-{'0' * 20}")}
        self._tell = tell
        self._process: Process | None = None
        self._ready = False

    @property
    def pid(self) -> int | None:
        """Its process id, when it has one."""
        return None if self._process is None else self._process.pid

    async def run(self) -> None:
        """See it through to its end."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self._control = ours
        with ours:
            with theirs:
                self._process = process = await asyncio.create_subprocess_exec(
                    *[sys.executable, "-P", "-m", "flexmpi.runtime.rank.warm", *self._command],
                    stdin=DEVNULL,
                    stdout=DEVNULL,
                    stderr=DEVNULL,
                    cwd=self._directory,
                    env={"GFORTRAN_UNBUFFERED_PRECONNECTED": "y", **self._environment, CONTROL: str(theirs.fileno())},
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                    preexec_fn=partial(processes.become_mpiexec, os.getpid()),
                )
            problem = await self._hear(ours)
            self._ready = not problem
            self._tell(problem)
            await process.wait()
            self._ready = False

    async def _hear(self, control: socket.socket) -> str:
        try:
            async with asyncio.timeout(IMPORT_LIMIT_S):
                said = await asyncio.get_running_loop().sock_recv(control, LARGEST_ORDER)
        except (OSError, TimeoutError):
            said = b""
        return "" if said == b"ready" else said.decode(errors="replace") or "it has ended while it imported"

    def kill(self) -> None:
        """End it; the ranks that it has forked go on."""
        if self._process is not None and self._process.returncode is None:
            processes.kill([self._process.pid])

    async def fork(self, order: Message, environment: Mapping[str, str], *, on_ended: Ended) -> WarmWorld | None:
        """Have the ranks of a process set forked.

        Parameters
        ----------
        on_ended
            Called with each rank that comes to its end by itself, in this order.

        Returns
        -------
        WarmWorld or None
            A world whose ranks have all initialised MPI and now begin with the program; None where there is no such world.
        """
        if not self._ready or _common(order) != self._served or order["ranks"] > MOST_RANKS:
            return None
        own = {name: value for name, value in environment.items() if name.startswith("FLEXMPI_") or name == "TMPDIR"}
        told = {"command": self._command, "directory": self._directory, "size": order["ranks"], "environment": own}
        world = WarmWorld(order["ranks"], on_ended)
        try:
            await world.open(partial(self._order, json.dumps(told).encode()))
            return world
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            self._ready = False
            self.kill()
            # Where it has forked no rank it has been killed itself, and there may be another.
            if world.pids or not isinstance(error, (ConnectionError, EOFError)):
                self._tell("ranks that it has forked did not initialise MPI")
            await world.end()
        return None

    def _order(self, told: bytes, descriptors: list[int]) -> None:
        if len(told) > LARGEST_ORDER:
            raise ValueError("this order is too long")
        socket.send_fds(self._control, [told], descriptors)


def _common(order: Message) -> tuple[object, ...]:
    """Return what two orders have in common that the same warm parent can serve."""
    shared = {name: value for name, value in order["environment"].items() if not name.startswith(OWN)}
    return order["command"], order["directory"], shared


class WarmWorld:
    """The ranks of one process set, forked by a warm parent and adopted by this process: their process manager.

    Parameters
    ----------
    size
        Their number.
    on_ended
        Called with each rank that comes to its end by itself, in this order.
    """

    def __init__(self, size: int, on_ended: Ended) -> None:
        self._size = size
        self._on_ended = on_ended
        self._exchange = Exchange(size, f"warm-{secrets.token_hex(8)}")
        self._writers: list[StreamWriter] = []
        self._managing: list[asyncio.Task[None]] = []
        self._first: int | None = None
        self._known: dict[int, int] = {}

    @property
    def pids(self) -> list[int]:
        """The processes of those ranks that are known to have been forked."""
        return list(self._known.values())

    async def open(self, order: Callable[[list[int]], None]) -> None:
        """Have the ranks forked by ``order``, which takes their ends of sockets, and see them through MPI_Init.

        Raises
        ------
        OSError, EOFError, TimeoutError, ValueError
            A rank has not initialised MPI.
        """
        pairs = [socket.socketpair() for _ in range(1 + self._size)]
        try:
            order([theirs.fileno() for _, theirs in pairs])
        except (OSError, ValueError):
            for ours, _ in pairs:
                ours.close()
            raise
        finally:
            for _, theirs in pairs:
                theirs.close()
        report, go = await asyncio.open_connection(sock=pairs[0][0])
        for rank, (ours, _) in enumerate(pairs[1:]):
            reader, writer = await asyncio.open_connection(sock=ours)
            self._writers.append(writer)
            self._managing.append(asyncio.create_task(self._manage(rank, reader)))
        try:
            async with asyncio.timeout(INITIALISE_LIMIT_S):
                await self._await_ranks(report)
            go.write(b"+" * self._size)
            await go.drain()
        finally:
            go.close()

    async def _await_ranks(self, report: StreamReader) -> None:
        """Read of each rank its process id, then that it has initialised MPI."""
        initialised = 0
        while initialised < self._size:
            line = await report.readline()
            if not line.endswith(b"\n"):
                raise EOFError("a rank has ended")
            rank, said = line.split()
            if said == b"initialised":
                initialised += 1
            else:
                self._known[int(rank)] = int(said)

    async def _manage(self, rank: int, reader: StreamReader) -> None:
        """Answer what a rank asks its process manager."""
        try:
            while line := await reader.readline():
                for whose, reply in self._exchange.answer(rank, line):
                    self._writers[whose].write(reply)
                if self._exchange.aborted is not None:
                    self._see_end(rank, self._exchange.aborted << 8)
        except OSError:
            pass
        except ValueError:
            # MPI waits for an answer that nobody can give.
            self._writers[rank].close()

    async def wait(self) -> int:
        """Wait until all ranks have ended; when one ends badly the others are ended, as by ``mpiexec``.

        Returns
        -------
        int
            The status: 0, that of the first rank that ended badly, or its signal's number.
        """
        await asyncio.gather(*(self._await_end(rank, pid) for rank, pid in self._known.items()))
        self._hang_up()
        return self._first or 0

    async def _await_end(self, rank: int, pid: int) -> None:
        self._see_end(rank, await _end_of(pid))

    def _see_end(self, rank: int, status: int) -> None:
        """A rank has ended, as ``os.waitpid`` tells it, or ends all by ``MPI_Abort``; what follows a bad end is our own doing."""
        if self._first is None:
            self._on_ended(rank, status)
            if code := os.waitstatus_to_exitcode(status):
                self._first = abs(code)
                self.kill()

    def kill(self) -> None:
        """End all ranks at once; what they have started is left to whoever has had them started."""
        processes.kill(self.pids)

    async def end(self) -> None:
        """Have nothing left of a world that has not come about."""
        self.kill()
        await asyncio.gather(*map(_end_of, self.pids))
        self._hang_up()

    def _hang_up(self) -> None:
        for task in self._managing:
            task.cancel()
        for writer in self._writers:
            writer.close()


async def _end_of(pid: int) -> int:
    """Wait for the end of a rank that this process has adopted, and return how it ended, as ``os.waitpid`` does."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return signal.SIGKILL
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    try:
        return os.waitpid(pid, 0)[1]
    except ChildProcessError:
        return signal.SIGKILL
