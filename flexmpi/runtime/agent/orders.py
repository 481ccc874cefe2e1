"""What the agent orders, as reconfigurations of the job: checked and queued at once, then awaited.

What is said of it to the agent is `conversation`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from flexmpi.errors import CommandError
from flexmpi.protocol.messages import Balance, Cost, Held, NodeRanks, Resize, Stop
from flexmpi.runtime.job.grant import Grant
from flexmpi.runtime.job.reconfiguration import Reconfiguration, Stage
from flexmpi.runtime.job.roster import Roster
from flexmpi.runtime.supervisor.reconfigurer import Reconfigurer

GIVE_BACK_LIMIT_S = 20.0
"""How long a node that has been left may take to be free before the agent is told that it is not."""


class Ordered(Protocol):
    """What the supervisor offers to the agent's orders."""

    roster: Roster
    reconfigurer: Reconfigurer
    grant: Grant
    floor: str
    nodes_on_demand: bool

    def held(self) -> list[str]:
        """Return the nodes that are the job's, its floor first."""

    def remark_on(self, node: str) -> str | None:
        """Return what was said when a node could not be given back."""

    def terminate(self) -> None:
        """End the application at its next agreement point."""

    def show(self, *lines: str) -> None:
        """Print in the application's output."""

    async def learn_nodes(self, names: Iterable[str]) -> None:
        """Take in those of these nodes that nobody knew at the start and that the job may have by now."""

    async def until(self, condition: Callable[[], bool], *, limit_s: float | None = None) -> bool:
        """Wait until something has happened; False if it has not within the limit."""


@dataclass(frozen=True)
class Outcome:
    """What came of an order: why it failed, if it did, and what it cost, if anything was measured."""

    why: str | None = None
    cost: Cost | None = None


class Order:
    """One order that is being carried out.

    Parameters
    ----------
    job
        The supervisor.
    command
        What is ordered.
    processes_per_node
        Ranks for each added node.

    Raises
    ------
    CommandError
        It is not possible; then nothing is done.
    """

    def __init__(self, job: Ordered, command: Resize | Balance | Stop, *, processes_per_node: int) -> None:
        self._job = job
        self._command = command
        self._wanted: Reconfiguration | None = None
        cause = f"agent {command.id}: {command.cause}"
        match command:
            case Resize():
                self._resize(command, cause, processes_per_node)
            case Balance():
                self._wanted = job.reconfigurer.request_balance(cause=cause)
            case Stop():
                job.terminate()
        job.show(f"Command of the agent: {self.summary()} ({command.cause})")

    def summary(self) -> str:
        """Say in a few words what is to be done."""
        match self._command:
            case Resize(add=add, leave=leave):
                return " and ".join(
                    f"{verb} {','.join(nodes)}" for verb, nodes in (("add", add), ("leave", leave)) if nodes
                )
            case Balance():
                return "balance the load"
            case _:
                return "end the application"

    def _resize(self, command: Resize, cause: str, processes_per_node: int) -> None:
        job, held = self._job, self._job.held()
        occupied = job.reconfigurer.projected()
        for node in command.leave:
            if node == job.floor:
                raise CommandError(f"{node} is the node this job cannot leave")
            if node not in held:
                raise CommandError(f"{node} is not a node of this job, which has {', '.join(held)}")
        for node in command.add:
            if occupied.get(node):
                raise CommandError(f"{node} has {occupied[node]} ranks of this job already")
        changes = growth(command.add, job.roster, processes_per_node=processes_per_node)
        changes |= {node: -occupied[node] for node in command.leave if occupied.get(node)}
        vacated = tuple(node for node in command.leave if node in changes)
        for node in command.leave:
            if node not in vacated and job.roster.prepared_on(node):
                self._wanted = job.reconfigurer.request_ready(node, 0, cause=cause)
        if changes:
            self._wanted = job.reconfigurer.request(
                list(changes.items()), cause=cause, given=command.add, vacated=vacated
            )
        empty = [node for node in command.leave if node not in changes]
        job.grant.settle(given=(), left=empty, used=job.roster.occupied())

    def take_back(self, why: str) -> None:
        """Give up waiting for nodes; what the application has been asked for already goes on."""
        if self._wanted is not None:
            self._job.reconfigurer.withdraw(self._wanted, why=why)

    async def outcome(self) -> Outcome:
        """Wait until it has been carried out, with all nodes given back that it leaves, or until it has failed."""
        wanted = self._wanted
        if isinstance(self._command, Stop):
            await self._job.until(lambda: False)
        if wanted is not None:
            await self._job.until(lambda: wanted.over)
        if isinstance(self._command, Balance):
            return Outcome(None if wanted is None else wanted.why, cost_of(wanted))
        return await self._see_nodes_go(wanted)

    async def _see_nodes_go(self, wanted: Reconfiguration | None) -> Outcome:
        job, command = self._job, self._command
        assert isinstance(command, Resize)
        why = wanted.why if wanted is not None else None
        going = command.leave if why is None else [node for node in command.add if node not in job.roster.occupied()]

        def kept() -> list[str]:
            held = job.held()
            return [node for node in going if node in held]

        # Of a node that stays it is said why, and nothing is to be waited for.
        await job.until(lambda: all(job.remark_on(node) for node in kept()), limit_s=GIVE_BACK_LIMIT_S)
        if why is None and (stays := kept()):
            why = "; ".join(job.remark_on(node) or f"{node} has been left and is not free yet" for node in stays)
        return Outcome(why, cost_of(wanted))


def growth(nodes: Iterable[str], roster: Roster, *, processes_per_node: int) -> dict[str, int]:
    """Return the ranks for each node that is added: as many as on others, at most one for each of its cores.

    Raises
    ------
    CommandError
        The job does not know such a node.
    """
    cores = {node.name: node.cores for node in roster.nodes}
    for node in nodes:
        if node not in cores:
            raise CommandError(f"{node} is not a node that this job may have, expected one of {', '.join(cores)}")
    return {node: min(processes_per_node, cores[node]) for node in nodes}


def held_nodes(held: Iterable[str], occupied: Mapping[str, int]) -> Held:
    """Return the nodes of a job, in this order, with the ranks on each."""
    return tuple(NodeRanks(node=node, ranks=occupied.get(node, 0)) for node in held)


def cost_of(done: Reconfiguration | None) -> Cost | None:
    """Return what a reconfiguration cost; None where it was not carried out."""
    if done is None or done.stage is not Stage.DONE or done.ready:
        return None
    figures = done.figures
    return Cost(
        start_s=done.start_s,
        join_s=figures["join_s"],
        balance_s=figures["balance_s"],
        move_s=figures["move_s"],
        part_s=figures["part_s"],
        stall_s=figures["stall_s"],
        moved_bytes=figures["bytes"],
    )
