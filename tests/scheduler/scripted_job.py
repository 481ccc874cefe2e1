"""An elastic job's side of the protocol, played by a test: it says and does what it is told to, over a real socket."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any, TypeVar

import zmq.asyncio

from flexmpi.protocol.messages import (
    Acknowledged,
    Cost,
    Done,
    Ended,
    Failed,
    FromAgent,
    NodeEnergy,
    NodeRanks,
    Register,
    Registered,
    Resize,
    Sample,
    decode_from_agent,
)
from flexmpi.protocol.replies import Reply, decode_reply
from flexmpi.protocol.requests import Request
from flexmpi.protocol.wire import Message, encode
from flexmpi.trust.contact import read_contact

LIMIT_S = 30.0
COST = Cost(start_s=0.3, join_s=0.011, balance_s=0.0, move_s=0.003, part_s=0.0, stall_s=0.015, moved_bytes=1000)

M = TypeVar("M", bound=Message)


class Caller:
    """One connection to an agent."""

    def __init__(self, folder: Path) -> None:
        self._context = zmq.asyncio.Context()
        self.connection = read_contact(folder).dial(self._context)

    async def send(self, message: Message) -> None:
        await self.connection.socket.send(encode(message))

    async def receive(self) -> bytes:
        return bytes(await asyncio.wait_for(self.connection.socket.recv(), LIMIT_S))

    def close(self) -> None:
        self._context.destroy(linger=0)


class ScriptedJob(Caller):
    """A job that holds nodes and changes them as it is ordered."""

    def __init__(
        self, folder: Path, *, job_id: int, nodes: list[str], low: int = 1, high: int = 6, key: str = ""
    ) -> None:
        super().__init__(folder)
        self.job_id, self.nodes, self.range = job_id, nodes, (low, high)
        self.key = key or f"job{job_id}"
        self.epoch = self.iteration = 0
        self.unfinished: tuple[str, ...] = ()

    @property
    def held(self) -> tuple[NodeRanks, ...]:
        return tuple(NodeRanks(node=node, ranks=1) for node in self.nodes)

    async def register(self, **changed: Any) -> None:
        fields = {
            "job_key": self.key,
            "job_id": self.job_id,
            "name": "scripted",
            "uid": os.getuid(),
            "user": "tester",
            "nodes": self.held,
            "minimum_nodes": self.range[0],
            "maximum_nodes": self.range[1],
            "processes_per_node": 1,
            "udp": None,
            "epoch": self.epoch,
            "unfinished": self.unfinished,
            "credential": self.connection.credential(),
        }
        await self.send(Register(**fields | changed))

    async def heard(self, kind: type[M]) -> M:
        """Return the next message, which must be of this kind."""
        message = decode_from_agent(await self.receive())
        assert isinstance(message, kind), message
        return message

    async def until(self, kind: type[M]) -> M:
        """Return the next message of a kind, whatever was said once more before it."""
        while not isinstance(message := decode_from_agent(await self.receive()), kind):
            pass
        return message

    async def joined(self) -> Registered:
        await self.register()
        answer = await self.heard(Registered)
        self.epoch = max(self.epoch, answer.epoch)
        return answer

    async def sample(self, *energy: NodeEnergy) -> None:
        self.iteration += 10
        await self.send(
            Sample(
                iteration=self.iteration,
                iterations=10,
                slowest_real_s=0.5,
                mean_busy_s=0.4,
                mean_communication_s=0.1,
                mean_io_s=0.0,
                nodes=self.held,
                energy=energy,
            )
        )

    async def taken(self, command: Resize) -> None:
        self.epoch = max(self.epoch, command.epoch)
        await self.send(Acknowledged(id=command.id))

    async def carry_out(self, command: Resize) -> None:
        self.nodes = [node for node in self.nodes if node not in command.leave] + list(command.add)
        await self.send(Done(id=command.id, cost=COST, nodes=self.held))

    async def give_up(self, command: Resize, why: str) -> None:
        await self.send(Failed(id=command.id, why=why, nodes=self.held))

    async def resized(self) -> Resize:
        """Take the next order and carry it out."""
        command = await self.heard(Resize)
        await self.taken(command)
        await self.carry_out(command)
        return command

    async def obey(self) -> None:
        """Carry out orders for as long as they come."""
        while True:
            await self.resized()

    async def end(self) -> None:
        await self.send(Ended(status=0))


class Person(Caller):
    """Somebody who asks."""

    async def ask(self, request: type[Request], **fields: object) -> Reply:
        await self.send(request(credential=self.connection.credential(), **fields))
        return await self.reply()

    async def reply(self) -> Reply:
        return decode_reply(await self.receive())


Heard = FromAgent
