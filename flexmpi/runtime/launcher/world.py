"""One process set, run from this node: by an ``mpiexec``, or forked by the node's warm parent. For node launchers.

Standard library only. What the ranks on this node print, and what is left of them, is ``ranks_here``.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from flexmpi.protocol.frames import Message
from flexmpi.protocol.rank_start import SIGNALS, SignalState
from flexmpi.runtime.launcher.mpi_starter import find_starter
from flexmpi.runtime.launcher.output import PrrteNotice, TerminationNotice
from flexmpi.runtime.launcher.ranks_environment import ranks_environment
from flexmpi.runtime.launcher.ranks_here import RanksHere
from flexmpi.runtime.launcher.warm_worlds import WarmParent, WarmWorld
from flexmpi.runtime.machine import processes

MPIEXEC = -1
"""In place of a rank's number where ``mpiexec`` itself prints."""

NO_SIGNALS = SignalState()


@dataclass(frozen=True)
class End:
    """How a process set ended.

    Attributes
    ----------
    status
        Of its ``mpiexec``; negative if a signal ended that. Without one it is that of the first rank that ended badly.
    error
        Why it could not be started.
    """

    status: int
    error: str | None = None


class RunningSet:
    """One process set that is run from this node, where some of its ranks live, if not all.

    Parameters
    ----------
    ranks
        Those on this node.
    folder
        The folder of ``ranks``.
    on_start
        Called when its ranks have been started, with True if they were forked by a warm parent.
    on_lost
        Called with the number of a rank here that ends before it has said hello.
    signals
        What the user's environment ignores and blocks, which is not what ranks inherit.
    """

    def __init__(
        self,
        ranks: RanksHere,
        folder: Path,
        *,
        on_start: Callable[[bool], None],
        on_lost: Callable[[int], None],
        signals: SignalState = NO_SIGNALS,
    ) -> None:
        self.ranks = ranks
        self._folder = folder
        self._on_start = on_start
        self._on_lost = on_lost
        self._signals = signals
        self._process: Process | None = None
        self._world: WarmWorld | None = None
        self._killed = False

    @property
    def pids(self) -> list[int]:
        """The processes that are waited for here: ``mpiexec``, or ranks that were forked."""
        if self._world is not None:
            return self._world.pids
        return [] if self._process is None else [self._process.pid]

    def environment(self, order: Message) -> dict[str, str]:
        """Return what its ranks are started with."""
        own = {
            **order["environment"],
            "FLEXMPI_SOCKETS": json.dumps(order["sockets"]),
            "FLEXMPI_OUTPUT": str(self._folder),
            "FLEXMPI_LAUNCHER": str(os.getpid()),
            SIGNALS: self._signals.text(),
        }
        return ranks_environment(os.environ, own, self._folder)

    async def run(self, order: Message, *, warm: WarmParent | None = None) -> End:
        """Start it as ordered, from a warm parent where that can be, and see it through to its end.

        It is not started where `kill` was called before its ``mpiexec`` could be, and has ended by SIGKILL then.
        """
        try:
            await self.ranks.open()
            return await self._run(order, warm)
        except OSError as error:
            await self.ranks.end()
            return End(127, error=f"{error.strerror}: {error.filename}" if error.filename else str(error))
        finally:
            self.ranks.remove()

    def kill(self) -> None:
        """End all its processes at once; `run` then returns."""
        self._killed = True
        living = [pid for pid in self.pids if self._process is None or self._process.returncode is None]
        processes.end([*living, *(child for pid in living for child in processes.descendants(pid))])

    async def _run(self, order: Message, warm: WarmParent | None) -> End:
        environment = self.environment(order)
        if warm is None or not await self._fork(order, environment, warm):
            await self._start(order, environment)
        end = await self._see_end()
        await self.ranks.end()
        return end

    async def _fork(self, order: Message, environment: Mapping[str, str], warm: WarmParent) -> bool:
        """Have it forked by the warm parent; False where it has to be started cold, and nothing is left of the attempt."""
        self._world = await warm.fork(order, environment, on_ended=self.ranks.on_ended)
        if self._world is None:
            await self.ranks.end_left_overs()
            return False
        if self._killed:
            self.kill()
        self._on_start(True)
        return True

    async def _start(self, order: Message, environment: Mapping[str, str]) -> None:
        """Have ``mpiexec`` start it, unless it has been killed by then."""
        starter = await find_starter()
        if self._killed:
            return
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

    async def _see_end(self) -> End:
        if self._world is not None:
            return End(await self._world.wait())
        if self._process is None:
            return End(-signal.SIGKILL)
        self.ranks.listen(self._process.stdout, MPIEXEC, "stdout", TerminationNotice())
        self.ranks.listen(self._process.stderr, MPIEXEC, "stderr", PrrteNotice())
        watching = asyncio.create_task(self.ranks.watch(self._on_lost))
        try:
            return End(await self._process.wait())
        finally:
            watching.cancel()
