"""The node launchers of one job: asked for when a node is needed, let go when nothing of the job is left on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping

from flexmpi.errors import MembershipError
from flexmpi.protocol.frames import Message
from flexmpi.runtime.providers.gateway import Gateway, LauncherLine
from flexmpi.runtime.providers.provider import Provider

FIRST_PAUSE_S = 5.0
LOOK_LIMIT_S = 1.0

Until = Callable[..., Awaitable[bool]]


class Launchers:
    """Which nodes have a launcher, and the way to each.

    Parameters
    ----------
    provider
        Where nodes come from.
    gateway
        Where launchers report.
    until
        Waits for a condition with a limit.
    spawn
        Runs something beside the rest.
    retries
        How often a node that was refused or not granted is asked for again, after a pause that doubles.
    """

    def __init__(
        self,
        provider: Provider,
        gateway: Gateway,
        until: Until,
        *,
        spawn: Callable[[Coroutine[object, object, None]], None],
        retries: int = 0,
    ) -> None:
        self._provider = provider
        self._gateway = gateway
        self._until = until
        self._spawn = spawn
        self._retries = retries
        self._requests = 0
        self._wanted: set[int] = set()
        self._node_of: dict[int, str] = {}
        self._starting: dict[str, asyncio.Task[str]] = {}
        self._given_up: set[str] = set()
        self._stopped: dict[str, list[int]] = {}
        self._going: dict[int, str] = {}

    @property
    def rank_environment(self) -> Mapping[str, str]:
        """What ranks on the provider's nodes need in their environment."""
        return self._provider.rank_environment

    @property
    def going(self) -> list[str]:
        """The nodes on which a launcher, or the job that runs it, is ending."""
        return list(self._going.values())

    @property
    def lines(self) -> dict[str, LauncherLine]:
        """The connections, by the nodes' names."""
        return self._gateway.lines

    async def ensure(self, node: str | None) -> str:
        """Have a launcher on a node, or for None on a new node that the provider chooses; return the node's name.

        Raises
        ------
        MembershipError
            The node was refused, not granted in time, or its launcher does not report.
        """
        if node is None:
            return await self._start_patiently(None)
        if node in self.lines:
            return node
        if node not in self._starting:
            self._given_up.discard(node)
            self._starting[node] = asyncio.create_task(self._start_patiently(node))
            self._starting[node].add_done_callback(lambda _: self._starting.pop(node))
        return await asyncio.shield(self._starting[node])

    async def _start_patiently(self, node: str | None) -> str:
        for attempt in range(self._retries):
            try:
                return await self._start(node)
            except MembershipError:
                if await self._until(lambda: node in self._given_up, limit_s=FIRST_PAUSE_S * 2**attempt):
                    raise
        return await self._start(node)

    async def _start(self, node: str | None) -> str:
        self._requests += 1
        request = self._requests
        self._wanted.add(request)
        try:
            await self._provider.start_launcher(request, node, addresses=self._gateway.addresses, key=self._gateway.key)
            node_of, failure, limit_s = self._node_of, self._provider.failure, self._provider.limit_s
            in_time = await self._until(
                lambda: request in node_of or failure(request) is not None or node in self._given_up, limit_s=limit_s
            )
            if request not in node_of:
                why = await self._withdraw(request, node)
                when = "" if in_time else f" within {limit_s:g} s"
                raise MembershipError(f"{node or 'a node'} was not granted{when}: {why}")
        finally:
            self._wanted.discard(request)
        return self._node_of[request]

    def give_up(self, nodes: Collection[str]) -> None:
        """Wait no longer for these nodes: those that are being asked for are refused at once."""
        self._given_up.update(node for node in nodes if node in self._starting)

    async def _withdraw(self, request: int, node: str | None) -> str:
        """Give a request up and return why it failed; what is left of it is seen off beside the rest."""
        self._wanted.discard(request)
        why = await self._provider.withdraw(request)
        if node is not None:
            self._going[request] = node
        self._spawn(self._see_off(request))
        return why

    async def _see_off(self, request: int) -> None:
        try:
            await self._provider.ended(request)
        finally:
            self._going.pop(request, None)

    def arrived(self, line: LauncherLine, hello: Message) -> bool:
        """Take in a launcher that reports; False if nobody waits for it any more."""
        request = int(hello["request"])
        if request not in self._wanted:
            line.send("stop")
            return False
        self._node_of[request] = line.node
        self._provider.reported(request, line.node)
        return True

    async def stopped(self, pids: Mapping[str, list[int]]) -> list[int]:
        """Return which processes, given by their nodes, are stopped; nodes that do not answer soon are left out."""
        self._stopped.clear()
        asked = [node for node in pids if node in self.lines]
        for node in asked:
            self.lines[node].send("look", pids=pids[node])
        await self._until(lambda: self._stopped.keys() >= set(asked), limit_s=LOOK_LIMIT_S)
        return [pid for node in self._stopped.values() for pid in node]

    def seen(self, node: str, message: Message) -> None:
        """Take in a launcher's answer about stopped processes."""
        self._stopped[node] = message["stopped"]

    async def let_go(self, node: str) -> str | None:
        """Have a node's launcher end, wait until its node is free, and return what a person should know about it."""
        request = self._request_of(node)
        self._going[request] = node
        self._stop(node)
        try:
            remark = await self._provider.released(node)
            await self._provider.ended(request)
        finally:
            self._going.pop(request, None)
        return remark

    async def lost(self, node: str) -> None:
        """See that nothing is left of a node's launcher whose connection has ended."""
        request = self._request_of(node)
        self._going[request] = node
        try:
            await self._provider.lost(request)
            await self._provider.ended(request)
        finally:
            self._going.pop(request, None)

    def _request_of(self, node: str) -> int:
        return max(number for number, name in self._node_of.items() if name == node)

    def _stop(self, node: str) -> None:
        if (line := self.lines.pop(node, None)) is not None:
            line.send("stop")

    async def close(self) -> None:
        """End all launchers, those that are still on their way too."""
        for starting in list(self._starting.values()):
            starting.cancel()
        self._wanted.clear()
        self._gateway.stop_launchers()
        await self._provider.close()
        await self._gateway.close()
