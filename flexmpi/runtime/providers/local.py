"""Virtual nodes on this machine: a node launcher is a child process."""

from __future__ import annotations

import asyncio
import os
import shutil
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from flexmpi.cluster.platform import Node
from flexmpi.errors import MembershipError
from flexmpi.runtime.machine import processes
from flexmpi.runtime.providers import between_nodes
from flexmpi.runtime.providers.provider import launcher_command, launcher_environment

STOP_LIMIT_S = 10.0


class LocalProvider:
    """Virtual nodes on this machine: a node launcher is a child process.

    Parameters
    ----------
    folder
        The job's private folder; each launcher gets a folder in it.
    on_ended
        Called when a launcher has ended.
    """

    limit_s = 30.0

    def __init__(self, folder: Path, *, on_ended: Callable[[], None]) -> None:
        self.rank_environment: Mapping[str, str] = between_nodes.rank_environment(
            between_nodes.library(), os.environ, across_nodes=False
        )
        self._folder = folder
        self._starting = 0
        # What a launcher has started, where that is killed.
        processes.adopt_orphans()
        self._on_ended = on_ended
        self._launchers: dict[int, Process] = {}
        self._watching: dict[asyncio.Task[None], Process] = {}

    async def start_launcher(self, request: int, node: str | None, *, addresses: Sequence[str], key: bytes) -> None:
        """Start a node launcher; its environment, not its command line, holds the key.

        It is in a session of its own: what ends this process by its group or its terminal must not end the launcher before
        it has cleared up.
        """
        if node is None:
            raise MembershipError("a virtual node has to be named")
        folder = self._folder / str(request)
        command = [*launcher_command(), "--node", node, "--folder", str(folder)]
        environment = {**os.environ, **launcher_environment(request, addresses, key)}
        self._starting += 1
        try:
            launcher = await asyncio.create_subprocess_exec(
                *command, stdin=DEVNULL, stdout=DEVNULL, env=environment, start_new_session=True
            )
        except OSError as error:
            raise MembershipError(f"cannot start the node launcher of {node}: {error.strerror}") from None
        finally:
            self._starting -= 1
        self._launchers[request] = launcher
        watching = asyncio.create_task(self._watch(launcher, folder))
        self._watching[watching] = launcher
        watching.add_done_callback(self._watching.pop)

    def failure(self, request: int) -> str | None:
        """Return why a launcher that was asked for will not report any more; None while it may."""
        launcher = self._launchers.get(request)
        if launcher is None or launcher.returncode is None:
            return None
        return f"its launcher ended with status {launcher.returncode}"

    async def nodes(self, names: Collection[str]) -> tuple[Node, ...]:
        """Return none: virtual nodes are all named at the start."""
        return ()

    def reported(self, request: int, node: str) -> None:
        """Do nothing: a child process that has reported needs nothing more."""

    async def withdraw(self, request: int) -> str:
        """Kill a launcher that does not report, and return what is known of it."""
        why = self.failure(request) or "its launcher did not report"
        await self.lost(request)
        return why

    async def lost(self, request: int) -> None:
        """Kill a launcher; what it has started goes when its end is noticed."""
        if (launcher := self._launchers.get(request)) is not None and launcher.returncode is None:
            processes.kill([launcher.pid])

    async def released(self, node: str) -> str | None:
        """Do nothing: a virtual node is nobody's."""
        return None

    async def ended(self, request: int) -> None:
        """Wait until a launcher has ended and all is cleared up behind it; one that does not end is killed."""
        launcher = self._launchers.get(request)
        watching = [task for task, process in self._watching.items() if process is launcher]
        if watching and (await asyncio.wait(watching, timeout=STOP_LIMIT_S))[1]:
            await self.lost(request)
            await asyncio.wait(watching, timeout=STOP_LIMIT_S)

    async def close(self) -> None:
        """Wait for the launchers to end, and kill those that do not, with all they have started."""
        if self._watching:
            await asyncio.wait(list(self._watching), timeout=STOP_LIMIT_S)
        processes.kill([launcher.pid for launcher in self._watching.values()])
        if self._watching:
            await asyncio.wait(list(self._watching), timeout=STOP_LIMIT_S)

    async def _watch(self, launcher: Process, folder: Path) -> None:
        """Wait for a launcher's end, and clear up behind it where it could not."""
        await launcher.wait()
        while self._starting or self._end_left_overs(folder):
            await asyncio.sleep(0.01)
        if folder.exists():
            shutil.rmtree(folder, ignore_errors=True)
        self._on_ended()

    def _end_left_overs(self, folder: Path) -> bool:
        """Kill what a launcher has left, or another that is dead too: as it was started, or programs executed since.

        Nothing may be on its way to become a launcher, for that is not known as one yet.
        """
        left = processes.having_any(f"FLEXMPI_OUTPUT={folder}/")
        processes.kill(left)
        living = [launcher.pid for launcher in self._launchers.values() if launcher.returncode is None]
        return processes.end_orphans(spared=living) or bool(left)
