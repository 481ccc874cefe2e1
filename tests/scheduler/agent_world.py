"""An agent over real sockets, with the local manager's real processes as jobs and their supervisors played by the test."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from flexmpi.cluster.platform import Node
from flexmpi.cluster.submission import Submission
from flexmpi.scheduler.agent.agent import Agent
from flexmpi.scheduler.agent.server import Server
from flexmpi.scheduler.agent.settings import AgentSettings
from flexmpi.scheduler.managers.local import LocalManager
from flexmpi.scheduler.ordering.journal import Journal
from flexmpi.trust.contact import Card, publish
from flexmpi.trust.keys import agent_keys, local_key
from tests.scheduler.scripted_job import LIMIT_S, Person, ScriptedJob

NODES = tuple(Node(f"node{number}", 4, alias="node") for number in range(6))


WAITS = "#!/bin/sh\nexec sleep 600\n"


WATTS = {"power": {"classes": ({"nodes": "node[0-5]", "idle_w": 50.0, "dynamic_w": 100.0},)}}


class World:
    """An agent that can be ended and started again, its manager, and who speaks to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manager = LocalManager(NODES, grace_s=0.1)
        self.keys = agent_keys(folder)
        self.authority = local_key(folder, make=True)
        self._callers: list[Any] = []
        self._running: asyncio.Task[None] | None = None

    async def start(
        self, *, sections: dict[str, Any] | None = None, alive: Callable[[], None] = lambda: None, **agent: object
    ) -> Agent:
        settings = AgentSettings.model_validate(
            {
                "agent": {"tick_s": 0.05, "mode": "on", **agent},
                "hysteresis": {"cool_down_s": 0.0, "settle_s": 0.0, "retry_s": 1000.0},
                # Nothing is said twice on a busy machine.
                "orders": {"acknowledge_s": 2 * LIMIT_S},
                **(sections or {}),
            }
        )
        self.journal = Journal.open(self.folder / "journal.sqlite")
        self.server = Server("tcp://127.0.0.1:0", self.keys)
        made = Agent(
            settings,
            manager=self.manager,
            journal=self.journal,
            server=self.server,
            authority=self.authority,
            clock=time.time,
        )
        is_ready = asyncio.Event()
        self._running = asyncio.create_task(made.run(ready=is_ready.set, alive=alive))
        readiness = asyncio.create_task(is_ready.wait())
        done, _ = await asyncio.wait([self._running, readiness], timeout=LIMIT_S, return_when=asyncio.FIRST_COMPLETED)
        if self._running in done:
            readiness.cancel()
            self._running.result()
        assert done, "the agent is not ready"
        publish(self.folder, Card(address=f"tcp://127.0.0.1:{self.server.port}", authority="local"))
        self.agent = made
        return made

    async def kill(self) -> None:
        """End the agent at once: nothing is finished, as after kill -9."""
        assert self._running is not None
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        self.server.__exit__(None, None, None)
        self.journal.close()

    def submit(self, nodes: int = 1) -> int:
        return self.manager.submit(Submission(script=WAITS, nodes=nodes, output="/dev/null"))

    def job(self, job_id: int, nodes: list[str] | None = None, **range_of: Any) -> ScriptedJob:
        held = nodes or list(self.manager.snapshot().job_of[job_id].nodes)
        made = ScriptedJob(self.folder, job_id=job_id, nodes=held, **range_of)
        self._callers.append(made)
        return made

    def adopt(self, caller: Any) -> None:
        """Close it at the end."""
        self._callers.append(caller)

    def person(self) -> Person:
        made = Person(self.folder)
        self._callers.append(made)
        return made

    async def until(self, condition: Callable[[], bool], *, what: str) -> None:
        """Wait for what a tick of the agent brings about."""
        try:
            async with asyncio.timeout(LIMIT_S):
                while not condition():
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"not within {LIMIT_S:g} s: {what}") from None

    async def close(self) -> None:
        for caller in self._callers:
            caller.close()
        await self.kill()
        await asyncio.to_thread(self.manager.close)


@asynccontextmanager
async def a_world(folder: Path, **start: Any) -> AsyncIterator[World]:
    world = World(folder)
    await world.start(**start)
    try:
        yield world
    finally:
        await world.close()


def play(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 3 * LIMIT_S))


async def started(world: World, job_id: int) -> int:
    await world.until(lambda: bool(world.manager.snapshot().job_of[job_id].nodes), what=f"job {job_id} has started")
    return job_id
