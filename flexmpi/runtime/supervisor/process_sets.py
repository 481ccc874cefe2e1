"""The process sets of one job on its nodes: started, spoken to and ended, through the node launchers.

What their ranks say is understood elsewhere (``rank_events``); here is only the way to them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from pathlib import Path

from flexmpi.cluster.platform import Node
from flexmpi.errors import MembershipError
from flexmpi.protocol.frames import Message
from flexmpi.runtime.job.options import JobOptions
from flexmpi.runtime.job.roster import ProcessSet, RankId, Roster
from flexmpi.runtime.machine import shared_files
from flexmpi.runtime.machine.processes import SOCKET_NAME
from flexmpi.runtime.machine.shared_files import SharedFile
from flexmpi.runtime.machine.tasks import Tasks
from flexmpi.runtime.providers.gateway import Gateway, LauncherLine
from flexmpi.runtime.providers.launchers import Launchers
from flexmpi.runtime.providers.local import LocalProvider
from flexmpi.runtime.providers.provider import Provider
from flexmpi.runtime.providers.slurm import SlurmProvider
from flexmpi.runtime.supervisor.hosting import Hosting

OF_VIRTUAL_NODES = {
    "UCX_NET_DEVICES": "lo",
    "FI_TCP_IFACE": "lo",
    "OMPI_MCA_btl_tcp_if_include": "lo",
    "OMPI_MCA_osc": "^ucx",
    "OMPI_MCA_mpi_yield_when_idle": "1",
    "I_MPI_THREAD_YIELD": "3",
}
"""
What ranks on virtual nodes are told unless the user has set it. MPI needs the loopback interface only; another may go away while
the job runs. Open MPI would print an error for each window, for want of a network. There may be more ranks than cores: one
that waits gives its core to others.
"""


class ProcessSets:
    """Starts, addresses and ends the process sets of one job.

    Parameters
    ----------
    options
        What to run, and where nodes come from.
    roster
        Who is who.
    tasks
        The job's tasks.
    on_message
        Called with a node's name and each message of its launcher.
    on_ended
        Called with the report of the end of a process set, when nothing of it is left on any node.
    on_lost
        Called with a process set whose launcher is gone, and why that is its end.
    warn
        Prints a warning.
    """

    def __init__(
        self,
        options: JobOptions,
        roster: Roster,
        tasks: Tasks,
        *,
        on_message: Callable[[str, Message], None],
        on_ended: Callable[[Message], None],
        on_lost: Callable[[ProcessSet, str], None],
        warn: Callable[[str], None],
    ) -> None:
        self._options = options
        self._directory = str(Path.cwd())
        self._roster = roster
        self._tasks = tasks
        self._on_ended = on_ended
        self._on_lost = on_lost
        self._warn = warn
        self._hosting = Hosting(self.tell_launcher, on_ended=self._set_ended)
        self._remarks: dict[str, str] = {}
        self._near: set[str] = set()
        self._shared: set[SharedFile] = set()
        self._provider: Provider | None = None
        self._gateway = Gateway(on_message, self._on_arrival, self._on_launcher_lost)

    async def open(self, folder: Path) -> None:
        """Be ready to start process sets; what is needed for it lies in a private folder."""
        allocation = self._options.allocation
        self._provider = provider = self._provider_of_nodes(folder)
        self._launchers = Launchers(
            provider, self._gateway, self._tasks.until, spawn=self._beside, retries=self._options.grant_retries
        )
        await self._gateway.open(() if allocation is None else allocation.addresses)

    def _beside(self, work: Coroutine[object, object, None]) -> None:
        """Do something beside the rest, and have all who wait look again when it is done."""

        async def do() -> None:
            await work
            self._tasks.notify()

        self._tasks.spawn(do())

    def _provider_of_nodes(self, folder: Path) -> Provider:
        allocation, on_ended = self._options.allocation, self._tasks.notify
        if allocation is None:
            return LocalProvider(folder, on_ended=on_ended)
        timeout_s = self._options.grant_timeout_s
        return SlurmProvider(allocation, folder, grant_timeout_s=timeout_s, on_ended=on_ended)

    async def close(self) -> None:
        """End all process sets and launchers, those that are still on their way too."""
        await self._launchers.close()
        self._shared = shared_files.remove_unused(self._shared)

    async def start(self, node: str | None, size: int, environment: Mapping[str, str]) -> list[RankId]:
        """Start ranks on a node, or for None on a new node that the provider chooses, as a process set of their own.

        Raises
        ------
        MembershipError
            The node was refused or not granted in time.
        """
        return await self.start_world([await self.ready(node)] * size, environment)

    async def ready(self, node: str | None) -> str:
        """Have a launcher on a node, or for None on a new node that the provider chooses; return the node's name.

        Raises
        ------
        MembershipError
            The node was refused or not granted in time.
        """
        node = await self._launchers.ensure(node)
        await self.learn([node])
        # One that came after the start, and of which nobody can tell more, has the cores that its launcher sees.
        self._roster.learn([Node(node, max(1, len(self._line(node).cores)), alias=node)])
        self._remarks.pop(node, None)
        return node

    async def start_world(self, places: Sequence[str], environment: Mapping[str, str]) -> list[RankId]:
        """Start ranks on nodes that are `ready`, those of a node one after the other, as one process set.

        Raises
        ------
        MembershipError
            A node is not there any more.
        """
        lines = {node: self._line(node) for node in dict.fromkeys(places)}
        pset = self._roster.add(places)
        told = {"FLEXMPI_PSET": str(pset.number), "FLEXMPI_SPEED": repr(self._roster.speed_of(pset.node))}
        if self._options.interval is not None:
            told["FLEXMPI_INTERVAL"] = self._options.interval
        if self._options.allocation is None:
            told.update({name: value for name, value in OF_VIRTUAL_NODES.items() if name not in os.environ})
        self._hosting.host(pset, lines[pset.node])
        # Ranks print into pipes that are to be there before them.
        await self._tasks.until(lambda: self._hosting.is_ready(pset))
        if (problem := self._hosting.problem(pset)) is not None or pset.number not in self._roster.psets:
            self._hosting.give_up(pset)
            raise MembershipError(problem or f"a node launcher of {', '.join(pset.nodes)} is gone")
        lines[pset.node].send(
            "start",
            pset=pset.number,
            ranks=pset.size,
            here=pset.numbers_on(pset.node),
            sockets=[(len(pset.numbers_on(node)), str(line.folder / SOCKET_NAME)) for node, line in lines.items()],
            command=self._options.command,
            directory=self._directory,
            environment={**self._launchers.rank_environment, **environment, **told},
            warm=self._options.warm,
        )
        return pset.ranks

    def _line(self, node: str) -> LauncherLine:
        if (line := self._gateway.lines.get(node)) is None:
            raise MembershipError(f"the node launcher of {node} is gone")
        return line

    async def learn(self, names: Iterable[str]) -> None:
        """Take in those of these nodes that nobody knew at the start and that the job may have by now."""
        if self._provider is not None and (unknown := self._roster.unknown(names)):
            self._roster.learn(await self._provider.nodes(unknown))

    def tell(self, ranks: Collection[RankId], kind: str, **fields: object) -> None:
        """Send a message to ranks, through their launchers."""
        for number in sorted({rank.pset for rank in ranks}):
            if (pset := self._roster.psets.get(number)) is not None:
                told = {rank.local_rank for rank in ranks if rank.pset == number}
                message = {"kind": kind, **fields}
                for node in pset.nodes:
                    if here := sorted(told.intersection(pset.numbers_on(node))):
                        self.tell_launcher(node, "rank", pset=number, local_ranks=here, message=message)

    def tell_launcher(self, node: str, kind: str, **fields: object) -> None:
        """Send a message to a node's launcher, if it is there."""
        if (line := self._gateway.lines.get(node)) is not None:
            line.send(kind, **fields)

    def tell_launchers(self, kind: str) -> None:
        """Send a message to all launchers."""
        for node in list(self._gateway.lines):
            self.tell_launcher(node, kind)

    @property
    def nodes(self) -> list[str]:
        """Those that have a launcher."""
        return sorted(self._gateway.lines)

    def cores_of(self, node: str) -> frozenset[int]:
        """Return the real cores that ranks on a node can be bound to."""
        return self._gateway.lines[node].cores

    async def stopped(self, ranks: Collection[RankId]) -> list[RankId]:
        """Return those of these ranks whose process a signal or a debugger has stopped."""
        pids: dict[str, list[int]] = {}
        for rank in ranks:
            if rank in self._roster.pids:
                pids.setdefault(self._roster.node_of(rank), []).append(self._roster.pids[rank])
        stopped = await self._launchers.stopped(pids)
        return [rank for rank in ranks if self._roster.pids.get(rank) in stopped]

    def seen(self, node: str, message: Message) -> None:
        """Take in a launcher's answer about stopped processes."""
        self._launchers.seen(node, message)

    def kill(self, number: int) -> None:
        """End a process set at once."""
        if (pset := self._roster.psets.get(number)) is not None:
            for node in pset.nodes:
                self.tell_launcher(node, "kill", pset=number)

    def heard(self, node: str, message: Message) -> None:
        """Take in what a launcher says of a process set that has ranks on its node."""
        match message["kind"]:
            case "hosted":
                self._hosting.ready(node, message["pset"], problem=message["problem"])
            case "unhosted":
                self._hosting.gone(node, message["pset"])
            case "pset_ended":
                self._hosting.head_ended(message)
            case "noted" if node in self._near:
                self._shared.update(SharedFile(*file) for file in message["files"])

    def _set_ended(self, pset: ProcessSet, message: Message) -> None:
        self._on_ended(message)
        for node in pset.nodes:
            self.let_go(node, if_idle=True)

    def give_up(self, nodes: Collection[str]) -> None:
        """Wait no longer for these nodes where they have not been granted yet."""
        self._launchers.give_up(nodes)
        self._tasks.notify()

    def let_go(self, node: str, *, if_idle: bool = False) -> None:
        """Have a node's launcher end, so that its node is free; with ``if_idle`` unless a process set lives there."""
        if not (if_idle and self._is_used(node)):
            self._tasks.spawn(self._let_go(node, if_idle=if_idle))

    async def _let_go(self, node: str, *, if_idle: bool) -> None:
        # Something may have been started there since.
        if if_idle and self._is_used(node):
            return
        self._remarks.pop(node, None)
        if (remark := await self._launchers.let_go(node)) is not None:
            self._remarks[node] = remark
            self._warn(remark)
        self._tasks.notify()

    def held(self) -> list[str]:
        """Return the nodes of the first allocation, and those with a launcher, be it that it is ending; each once."""
        allocation = self._options.allocation
        allocated = [] if allocation is None else allocation.nodes
        return list(dict.fromkeys([*allocated, *self._gateway.lines, *self._launchers.going]))

    def remark_on(self, node: str) -> str | None:
        """Return what was said when a node could not be given back."""
        return self._remarks.get(node)

    def _is_used(self, node: str) -> bool:
        return any(node in pset.nodes for pset in self._roster.psets.values())

    def _on_arrival(self, line: LauncherLine, hello: Message) -> bool:
        awaited = self._launchers.arrived(line, hello)
        if hello.get("host") == os.uname().nodename:
            self._near.add(line.node)
        self._tasks.notify()
        return awaited

    def _on_launcher_lost(self, node: str) -> None:
        self._tasks.spawn(self._see_lost(node))
        for pset in [pset for pset in self._roster.psets.values() if node in pset.nodes]:
            self._on_lost(pset, f"the node launcher of {node} is gone")
        self._hosting.lost(node)
        self._tasks.notify()

    async def _see_lost(self, node: str) -> None:
        await self._launchers.lost(node)
        # What it would have removed itself if it had not been killed.
        self._shared = shared_files.remove_unused(self._shared)
        self._tasks.notify()
