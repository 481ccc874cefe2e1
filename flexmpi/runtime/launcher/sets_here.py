"""The process sets that have ranks on this node: run from here, or hosted for another node's launcher. Standard library only."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Protocol

from flexmpi.protocol.frames import Message
from flexmpi.protocol.rank_start import SignalState
from flexmpi.runtime.launcher.ranks_here import RanksHere
from flexmpi.runtime.launcher.shared_memory import SharedMemory
from flexmpi.runtime.launcher.warm_worlds import WarmParent
from flexmpi.runtime.launcher.window import Window
from flexmpi.runtime.launcher.world import RunningSet
from flexmpi.runtime.machine import processes
from flexmpi.runtime.machine.shared_files import SharedFile
from flexmpi.runtime.machine.tasks import Tasks

HANG_UP_LIMIT_S = 3.0
"""How long connections of ranks that have ended may stay open, as in the hands of what they have started."""


class Send(Protocol):
    """Says something to the supervisor."""

    def __call__(self, kind: str, **fields: object) -> None:
        """Send a message."""


class SetsHere:
    """The process sets that have ranks on this node, and the warm parent that forks some.

    Parameters
    ----------
    folder
        The launcher's; each process set has a folder in it.
    tasks
        The launcher's.
    send
        Says something to the supervisor.
    window
        Lets output through as fast as it is read.
    signals
        What the user's environment ignores and blocks.
    on_failure
        Called with an error that nobody else would see.
    is_connected
        Tells whether a rank of a process set still has its connection to this launcher.
    spared
        Returns the other children of this process, which it waits for elsewhere.
    """

    def __init__(
        self,
        folder: Path,
        tasks: Tasks,
        *,
        send: Send,
        window: Window,
        signals: SignalState,
        on_failure: Callable[[BaseException], None],
        is_connected: Callable[[int], bool],
        spared: Callable[[], Collection[int]],
    ) -> None:
        self._folder = folder
        self._tasks = tasks
        self._send = send
        self._window = window
        self._signals = signals
        self._on_failure = on_failure
        self._is_connected = is_connected
        self._spared = spared
        self._running: dict[int, RunningSet] = {}
        self._orders: dict[int, Message] = {}
        self._ranks: dict[int, RanksHere] = {}
        self._hosting: dict[int, asyncio.Task[None]] = {}
        self._shared = SharedMemory(descendants_here, self._say_noted)
        self._warm: WarmParent | None = None
        self._warm_is_of_use = True

    def run(self, order: Message) -> Coroutine[object, object, None]:
        """Return what runs a process set, which can be killed from now on, and reports its end when nothing of it is left."""
        number = int(order["pset"])
        folder = self._folder_of(number)

        def say_started(warm: bool) -> None:
            self._send("pset_started", pset=number, warm=warm)

        ranks = self._ranks_of(number, order["here"], label=str(folder))
        self._running[number] = running = RunningSet(
            ranks, folder, on_start=say_started, on_lost=partial(self._say_lost, number), signals=self._signals
        )
        self._orders[number] = order
        return self._see_through(number, order, running)

    async def _see_through(self, number: int, order: Message, running: RunningSet) -> None:
        # Those that are forked all live here.
        end = await running.run(order, warm=self._warm if len(order["here"]) == order["ranks"] else None)
        await self._hung_up(number)
        del self._running[number], self._orders[number], self._ranks[number]
        self.clear_up()
        self._send("pset_ended", pset=number, **asdict(end))

    async def _hung_up(self, number: int) -> None:
        """Wait until it has been said of each rank that it is lost, now that none lives."""
        limit = time.monotonic() + HANG_UP_LIMIT_S
        while self._is_connected(number) and time.monotonic() < limit:
            await asyncio.sleep(0.005)

    async def host(self, order: Message) -> None:
        """Be ready for ranks of a process set that is run from another node."""
        number = int(order["pset"])
        ranks = self._ranks_of(number, order["here"], label=order["label"])
        try:
            await ranks.open()
        except OSError as error:
            self._send("hosted", pset=number, problem=f"no room for ranks: {error.strerror or error}")
            return
        self._hosting[number] = self._tasks.spawn(ranks.watch(partial(self._say_lost, number)))
        self._send("hosted", pset=number, problem=None)

    async def unhost(self, number: int) -> None:
        """End what is left here of a process set that was run from another node, and report when that is done."""
        if (watching := self._hosting.pop(number, None)) is not None:
            watching.cancel()
        if (ranks := self._ranks.get(number)) is not None:
            await ranks.end()
            ranks.remove()
            await self._hung_up(number)
            del self._ranks[number]
        self.clear_up()
        self._send("unhosted", pset=number)

    def kill(self, number: int) -> None:
        """End what a process set has on this node at once."""
        self._shared.note(descendants_here())
        if (running := self._running.get(number)) is not None:
            running.kill()
        elif (ranks := self._ranks.get(number)) is not None:
            ranks.kill()

    def kill_all(self) -> None:
        """End all of them, and the warm parent."""
        if self._warm is not None:
            self._warm.kill()
        for watching in self._hosting.values():
            watching.cancel()
        for number in list(self._ranks):
            self.kill(number)

    def see_rank(self, number: int, rank: int, pid: int) -> None:
        """Note the process of a rank that has said hello."""
        if (ranks := self._ranks.get(number)) is not None:
            ranks.greeted(rank, pid)

    def open(self) -> None:
        """Be ready to run them."""
        self._shared.open()

    def close(self) -> None:
        """Have nothing left of what they shared."""
        self._shared.close()
        self.clear_up()

    def note_shared_memory(self, pid: int) -> None:
        """Note the files by which a rank shares memory, which MPI has made by now."""
        self._shared.note([pid])

    def _say_lost(self, number: int, rank: int) -> None:
        self._send("rank", pset=number, local_rank=rank, message={"kind": "lost"})

    def _say_noted(self, files: list[SharedFile]) -> None:
        self._send("noted", files=files)

    def keep_warm(self, number: int) -> None:
        """Have a warm parent, if that is wanted: now that a program is known that leaves alone what is settled before it."""
        order = self._orders.get(number)
        if order is not None and order.get("warm") and self._warm is None and self._warm_is_of_use:
            environment = self._running[number].environment(order)
            self._warm = WarmParent(order, environment, self._folder, tell=self._say_warm)
            self._tasks.spawn(self._run_warm_parent(self._warm))

    def clear_up(self) -> None:
        """Collect the processes that have ended here, and remove what they have left in shared memory."""
        started = [pid for each in self._running.values() for pid in each.pids]
        if self._warm is not None and self._warm.pid is not None:
            started.append(self._warm.pid)
        processes.reap_adopted(started=[*started, *self._spared()])
        self._shared.clear()

    def _ranks_of(self, number: int, here: Sequence[int], *, label: str) -> RanksHere:
        async def send_output(rank: int, stream: str, data: bytes) -> None:
            await self._window.take(len(data))
            text = data.decode(errors="surrogateescape")
            self._send("output", pset=number, local_rank=rank, stream=stream, text=text)

        def say_ended(rank: int, status: int) -> None:
            self._send("rank", pset=number, local_rank=rank, message={"kind": "ended", "status": status})

        self._ranks[number] = ranks = RanksHere(
            here,
            self._folder_of(number),
            label,
            send_output=send_output,
            on_ended=say_ended,
            on_failure=self._on_failure,
        )
        return ranks

    def _folder_of(self, number: int) -> Path:
        return self._folder / f"pset-{number}"

    def _say_warm(self, problem: str) -> None:
        """Report that there is a warm parent, or why there will be none; that costs time alone, for ranks start cold then."""
        self._warm_is_of_use = not problem
        self._send("warm", problem=problem or None)

    async def _run_warm_parent(self, parent: WarmParent) -> None:
        try:
            await parent.run()
        except OSError as error:
            self._say_warm(str(error))
        finally:
            self._warm = None


def descendants_here() -> list[int]:
    """Return the processes below this one: ranks, also before they have said hello, and what they have started."""
    return processes.descendants(os.getpid())
