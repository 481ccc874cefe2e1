"""A job that speaks to the agent by the supervisor's own `Conversation`, and does at once what it is told to."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from pathlib import Path

from flexmpi.protocol.messages import FromSupervisor, Held, NodeRanks, Resize
from flexmpi.runtime.agent.conversation import Act, CarryOut, Conversation, Facts, Prove, Send, TakeBack
from tests.scheduler.scripted_job import COST, Caller


class FaithfulJob:
    """One elastic job; it outlives agents, and knows commands again that it has seen.

    Attributes
    ----------
    nodes
        Those it holds, its floor first.
    """

    def __init__(self, folder: Path, *, job_id: int, nodes: Sequence[str], maximum_nodes: int) -> None:
        self.folder = folder
        self.nodes = list(nodes)
        self._conversation = Conversation(
            Facts(
                job_key=f"job{job_id}",
                job_id=job_id,
                array_job_id=None,
                array_task_id=None,
                name="faithful",
                uid=os.getuid(),
                user="tester",
                minimum_nodes=1,
                maximum_nodes=maximum_nodes,
                processes_per_node=1,
                udp=None,
            ),
            clock=time.monotonic,
        )
        self._following: asyncio.Task[None] | None = None
        self._caller: Caller | None = None

    @property
    def _held(self) -> Held:
        return tuple(NodeRanks(node=node, ranks=1) for node in self.nodes)

    def follow(self) -> None:
        """Follow the agent that the folder tells of now."""
        self.close()
        self._caller = Caller(self.folder)
        self._following = asyncio.create_task(self._follow(self._caller))

    def close(self) -> None:
        """Follow no agent any more."""
        if self._following is not None and self._caller is not None:
            self._following.cancel()
            self._caller.close()

    async def _follow(self, agent: Caller) -> None:
        answers = self._do(self._conversation.connected(), agent)
        while True:
            for answer in answers:
                await agent.send(answer)
            data = bytes(await agent.connection.socket.recv())
            answers = self._do(self._conversation.received(data, self._held), agent)

    def _do(self, acts: Sequence[Act], agent: Caller) -> list[FromSupervisor]:
        """Do it, whoever follows meanwhile, and return what is to be said of it."""
        said: list[FromSupervisor] = []
        for act in acts:
            match act:
                case Send(message):
                    said.append(message)
                case Prove():
                    said += self._do(self._conversation.proved(agent.connection.credential(), self._held), agent)
                case CarryOut(command):
                    said += self._do(self._conversation.taken(command), agent)
                    assert isinstance(command, Resize)
                    kept = [node for node in self.nodes if node not in command.leave]
                    self.nodes = [*kept, *command.add]
                    said += self._do(self._conversation.done(command, self._held, cost=COST), agent)
                case TakeBack(command, why):
                    said += self._do(self._conversation.failed(command, self._held, why=why), agent)
        return said
