"""The supervisor's link to the cluster agent: the socket, the folder that tells of the agent, the clock and the threads.

What is said and when is `conversation`'s; what is ordered is `orders`'. The job runs on whatever happens here, and
waits for none of it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Protocol

import zmq
import zmq.asyncio
from pydantic import ValidationError
from zmq.utils.monitor import recv_monitor_message

from flexmpi.errors import CommandError, FlexMPIError, MessageError
from flexmpi.protocol.messages import Energies, FromSupervisor, Held, NodeEnergy, Resize, Sample
from flexmpi.protocol.wire import complaint, encode
from flexmpi.runtime.agent.conversation import (
    Act,
    AnyCommand,
    CarryOut,
    Conversation,
    Facts,
    Joined,
    Problem,
    Prove,
    Send,
    TakeBack,
)
from flexmpi.runtime.agent.orders import Order, Ordered, held_nodes
from flexmpi.runtime.job.application import Application
from flexmpi.runtime.job.measurements import EnergyReading, IntervalReport
from flexmpi.runtime.machine.tasks import Tasks, in_thread
from flexmpi.runtime.reporting.eventlog import EventLog
from flexmpi.runtime.supervisor.meters import Meters
from flexmpi.trust.agent_folder import CARD_NAME, PUBLIC_NAME
from flexmpi.trust.contact import FAILED, Connection, Contact, is_stranger, read_contact

TICK_S = 0.5
LOOK_S = 2.0
"""How often the folder is looked at: an agent that was restarted may listen elsewhere."""
STRANGERS = 3
"""So many handshakes in a row must fail before somebody else is taken to listen at the agent's address."""
STRANGER_PAUSE_S = 30.0
LINGER_S = 1.0
"""How long the end of a job may wait until its last words have been sent."""

_EVENTS = zmq.Event.HANDSHAKE_SUCCEEDED | zmq.Event.DISCONNECTED | FAILED


class Linked(Ordered, Protocol):
    """What the supervisor offers to its link to the agent."""

    log: EventLog
    application: Application
    meters: Meters

    def warn(self, what: str) -> None:
        """Print a warning."""


class AgentLink:
    """One job's link to the agent that a folder tells of.

    Parameters
    ----------
    job
        The supervisor.
    folder
        Where the agent's card is, or will be.
    facts
        What the job tells of itself.

    Raises
    ------
    MessageError
        Something of it has no place in the protocol, such as the name of a node.
    """

    def __init__(self, job: Linked, folder: Path, facts: Facts) -> None:
        self._job = job
        self._folder = folder
        self._processes_per_node = facts.processes_per_node
        self._conversation = Conversation(facts, time.monotonic)
        try:
            self._conversation.register("none", self._nodes())
        except ValidationError as error:
            raise MessageError(complaint(error, "register message")) from None
        self._tasks = Tasks(self._gave_up)
        self._context = zmq.asyncio.Context()
        self._contact: Contact | None = None
        self._address: str | None = None
        self._connection: Connection[zmq.asyncio.Socket] | None = None
        self._following: list[asyncio.Task[None]] = []
        self._failed_handshakes = 0
        self._look_at = 0.0
        self._seen: object = None
        self._warned: set[str] = set()
        self._orders: dict[str, Order] = {}
        self._learning: dict[str, str | None] = {}
        self._measured: tuple[IntervalReport, list[str]] | None = None
        self._told: Sequence[EnergyReading] = ()

    def start(self) -> None:
        """Look for the agent from now on."""
        self._tasks.spawn(self._look_after())

    def sampled(self, latest: IntervalReport) -> None:
        """Tell what was measured in a sampling interval."""
        energy, roster = self._energy_since(), self._job.roster
        self._measured = latest, [roster.node_of(rank) for rank in roster.members]
        if latest.iterations > 0:
            maximum = self._job.application.maximum
            self._do(self._conversation.sampled(sample_of(latest, self._nodes(), maximum=maximum, energy=energy)))

    def _energy_since(self) -> Energies:
        """Return what nodes have spent by what was read since the last sample: at its end, so with its processor time."""
        readings = self._job.meters.energy
        if self._measured is None or readings is self._told:
            return ()
        self._told = readings
        return energies_of(readings, *self._measured)

    async def close(self, *, status: int, why: str | None) -> None:
        """Say that the job has ended, and let that arrive if the agent is there."""
        self._tasks.cancel()
        last_words = self._conversation.ended(status=status % 256, why=why or None)
        self._do(last_words)
        self._hang_up(linger_s=LINGER_S if last_words else 0.0)
        with suppress(TimeoutError):
            await asyncio.wait_for(in_thread(self._context.term), LINGER_S + TICK_S)

    def _gave_up(self, error: BaseException) -> None:
        self._problem(f"the link to the agent failed itself: {type(error).__name__}: {error}")

    def _nodes(self) -> Held:
        return held_nodes(self._job.held(), self._job.roster.occupied())

    # The connection.

    async def _look_after(self) -> None:
        while True:
            if (now := time.monotonic()) >= self._look_at:
                self._look_at = now + LOOK_S
                await self._look()
            self._do(self._conversation.tick())
            await asyncio.sleep(TICK_S)

    async def _look(self) -> None:
        """Dial when the folder tells of an agent that it did not tell of before."""
        if (found := await in_thread(partial(_stamps, self._folder))) == self._seen and self._contact is not None:
            return
        try:
            contact = await in_thread(partial(read_contact, self._folder))
        except FlexMPIError as error:
            self._problem(f"{error}; the job runs without an agent")
            return
        self._seen = found
        if contact != self._contact:
            self._hang_up()
            self._dial(contact)

    def _dial(self, contact: Contact) -> None:
        def watch(socket: zmq.asyncio.Socket) -> None:
            monitor = socket.get_monitor_socket(_EVENTS)
            self._following.append(asyncio.create_task(self._follow(monitor)))

        self._contact, self._failed_handshakes = contact, 0
        self._address = contact.card.address
        self._connection = connection = contact.dial(self._context, prepare=watch)
        self._following.append(asyncio.create_task(self._receive(connection)))
        for task in self._following:
            task.add_done_callback(self._followed)

    def _followed(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._gave_up(error)

    def _hang_up(self, *, linger_s: float = 0.0) -> None:
        for task in self._following:
            task.cancel()
        self._following.clear()
        if self._connection is not None:
            self._connection.socket.disable_monitor()
            self._connection.socket.close(linger=round(linger_s * 1000))
        self._connection = self._contact = None
        self._conversation.disconnected()

    async def _follow(self, monitor: zmq.asyncio.Socket) -> None:
        """Hear from ZeroMQ how the connection is."""
        with monitor:
            while True:
                message = await recv_monitor_message(monitor)
                event = message["event"]
                if event == zmq.Event.HANDSHAKE_SUCCEEDED:
                    self._failed_handshakes = 0
                    self._do(self._conversation.connected())
                elif event == zmq.Event.DISCONNECTED:
                    self._conversation.disconnected()
                elif not is_stranger(message):
                    self._failed_handshakes = 0  # it does not answer, as the conversation will say
                else:
                    self._failed_handshakes += 1
                    if self._failed_handshakes >= STRANGERS:
                        self._shun()

    def _shun(self) -> None:
        """Leave whoever listens there alone for a while: it cannot prove that it is the agent."""
        self._problem(
            f"whoever listens at {self._address} does not prove that it has the key {self._folder / PUBLIC_NAME}; "
            "the job runs without an agent"
        )
        self._hang_up()
        self._look_at = time.monotonic() + STRANGER_PAUSE_S

    async def _receive(self, connection: Connection[zmq.asyncio.Socket]) -> None:
        while True:
            frames = await connection.socket.recv_multipart()
            self._do(self._conversation.received(frames[-1], self._nodes()))

    def _send(self, message: FromSupervisor) -> None:
        if self._connection is not None:
            # Not to be awaited: what cannot be sent at once is lost, as if the connection were.
            sent = asyncio.ensure_future(self._connection.socket.send(encode(message), zmq.NOBLOCK))
            sent.add_done_callback(lambda sent: sent.cancelled() or sent.exception())

    async def _prove(self, connection: Connection[zmq.asyncio.Socket]) -> None:
        try:
            credential = await connection.credential_beside()
        except FlexMPIError as error:
            if connection is self._connection:
                self._do(self._conversation.unproved(str(error)))
        else:
            if connection is self._connection:
                self._do(self._conversation.proved(credential, self._nodes()))

    # What is to be done.

    def _do(self, acts: Iterable[Act]) -> None:
        for act in acts:
            match act:
                case Send(message):
                    self._send(message)
                case Prove():
                    if self._connection is not None:
                        self._tasks.spawn(self._prove(self._connection))
                case CarryOut(command):
                    self._begin(command)
                case TakeBack(command, why):
                    self._take_back(command, why)
                case Problem(what):
                    self._problem(f"{self._whom()}: {what}")
                case Joined():
                    self._joined()

    def _problem(self, what: str) -> None:
        """Say what a person should know, and not again until all was well in between."""
        if what not in self._warned:
            self._warned.add(what)
            self._job.warn(what)
            self._job.log.write("agent", address=self._address, registered=False, why=what)

    def _joined(self) -> None:
        self._warned.clear()
        self._job.show(f"Registered with the {self._whom()}")
        self._job.log.write("agent", address=self._address, registered=True, why=None)

    def _whom(self) -> str:
        """Say which agent is spoken of, where no connection to it is open too."""
        return f"agent of {self._folder}" if self._address is None else f"agent at {self._address}"

    def _begin(self, command: AnyCommand) -> None:
        """Begin to carry out a command; one for nodes that nobody knew at the start when it is known whether they are there."""
        if isinstance(command, Resize) and self._job.nodes_on_demand and self._job.roster.unknown(command.add):
            self._do(self._conversation.taken(command))
            self._learning[command.id] = None
            self._tasks.spawn(self._begin_with_more_nodes(command))
            return
        try:
            order = Order(self._job, command, processes_per_node=self._processes_per_node)
        except CommandError as error:
            self._note(command, "refused", why=str(error))
            self._do(self._conversation.refused(command, str(error)))
        else:
            self._note(command, "taken")
            self._orders[command.id] = order
            self._do(self._conversation.taken(command))
            self._tasks.spawn(self._finish(order, command))

    async def _begin_with_more_nodes(self, command: Resize) -> None:
        """Have more nodes known, and carry out a command that has been taken already."""
        try:
            await self._job.learn_nodes(command.add)
        finally:
            taken_back = self._learning.pop(command.id)
        try:
            if taken_back is not None:
                raise CommandError(taken_back)
            order = Order(self._job, command, processes_per_node=self._processes_per_node)
        except CommandError as error:
            self._note(command, "failed", why=str(error))
            self._do(self._conversation.failed(command, self._nodes(), why=str(error)))
            return
        self._note(command, "taken")
        self._orders[command.id] = order
        await self._finish(order, command)

    def _take_back(self, command: AnyCommand, why: str) -> None:
        if (order := self._orders.get(command.id)) is not None:
            order.take_back(why)
        elif command.id in self._learning:
            self._learning[command.id] = why

    async def _finish(self, order: Order, command: AnyCommand) -> None:
        outcome = await order.outcome()
        del self._orders[command.id]
        if outcome.why is None:
            self._note(command, "done")
            self._do(self._conversation.done(command, self._nodes(), cost=outcome.cost))
        else:
            self._note(command, "failed", why=outcome.why)
            self._do(self._conversation.failed(command, self._nodes(), why=outcome.why, cost=outcome.cost))

    def _note(self, command: AnyCommand, outcome: str, *, why: str | None = None) -> None:
        fields = command.model_dump(mode="json", exclude={"version"})
        self._job.log.write("order", **fields, outcome=outcome, why=why)


def sample_of(latest: IntervalReport, nodes: Held, *, maximum: int | None, energy: Energies = ()) -> Sample:
    """Return what the agent is told of an interval."""
    return Sample(
        iteration=latest.iteration,
        iterations=latest.iterations,
        maximum=maximum,
        slowest_real_s=max(latest.real_s),
        mean_busy_s=fmean(latest.busy_s),
        mean_communication_s=fmean(latest.communication_s),
        mean_io_s=fmean(latest.io_s),
        nodes=nodes,
        energy=energy,
    )


def energies_of(readings: Iterable[EnergyReading], latest: IntervalReport, nodes: Sequence[str]) -> Energies:
    """Return what the agent is told of energy: of machines that are one node of the job each, and have ranks.

    What several nodes have spent together says nothing of one of them, and what no node can spend is not told.

    Parameters
    ----------
    latest
        An interval of about the readings' time: how many cores ranks kept busy.
    nodes
        The node of each rank in it.
    """
    found = []
    for reading in readings if len(nodes) == latest.size else ():
        here = [rank for rank, node in enumerate(nodes) if node in reading.nodes]
        if len(reading.nodes) > 1 or not here or reading.seconds is None or reading.total_j is None:
            continue
        processor_s = latest.busy_cores(here) * reading.seconds
        with suppress(ValidationError):
            found.append(
                NodeEnergy(
                    node=reading.nodes[0], seconds=reading.seconds, joules=reading.total_j, processor_s=processor_s
                )
            )
    return tuple(found)


def _stamps(folder: Path) -> tuple[object, ...]:
    """Return by what a change of the agent's files is seen."""
    return tuple(_stamp(folder / name) for name in (CARD_NAME, PUBLIC_NAME))


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_ctime_ns
