"""Ranks bound to cores, by their node launchers."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from flexmpi.errors import CommandError
from flexmpi.protocol.frames import Message
from flexmpi.runtime.job.roster import RankId, Roster
from flexmpi.runtime.machine.tasks import Tasks
from flexmpi.runtime.supervisor.process_sets import ProcessSets

BIND_LIMIT_S = 5.0


class Bindings:
    """Binds the ranks of one job."""

    def __init__(self, roster: Roster, process_sets: ProcessSets, tasks: Tasks) -> None:
        self._roster = roster
        self._process_sets = process_sets
        self._tasks = tasks
        self._answers: dict[int, str | None] = {}
        self._bound: dict[RankId, list[int]] = {}
        self._requests = 0

    async def bind(self, cores: Mapping[int, list[int]]) -> None:
        """Bind ranks, by their numbers, to cores.

        Raises
        ------
        CommandError
            There is no such rank or core, or a node refuses.
        """
        by_node = self._checked(cores)
        await self._bind(by_node)
        self._bound.update({self._roster.members[number]: wanted for number, wanted in cores.items()})

    async def hand_on(self, place_holders: Mapping[RankId, RankId | None]) -> None:
        """Bind ranks, which have just taken over, as those were bound whose places they take; a refusal is passed over."""
        bound, self._bound = self._bound, {}
        by_node: dict[str, dict[int, list[int]]] = {}
        for rank, holder in place_holders.items():
            if holder in bound and rank in self._roster.pids:
                self._bound[rank] = bound[holder]
                by_node.setdefault(self._roster.node_of(rank), {})[self._roster.pids[rank]] = bound[holder]
        with suppress(CommandError):
            await self._bind(by_node)

    async def _bind(self, by_node: Mapping[str, Mapping[int, list[int]]]) -> None:
        for node, of_pids in by_node.items():
            self._requests += 1
            request = self._requests
            self._process_sets.tell_launcher(node, "bind", request=request, cores=of_pids)
            if not await self._tasks.until(lambda: request in self._answers, limit_s=BIND_LIMIT_S):  # noqa: B023
                raise CommandError(f"the node launcher of {node} did not answer within {BIND_LIMIT_S:g} s")
            if (refused := self._answers.pop(request)) is not None:
                raise CommandError(f"{node} refused: {refused}")

    def bound(self, message: Message) -> None:
        """Take in a launcher's answer to a binding."""
        self._answers[message["request"]] = message["error"]

    def _checked(self, cores: Mapping[int, list[int]]) -> dict[str, dict[int, list[int]]]:
        roster = self._roster
        cores_of = {node.name: node.cores for node in roster.nodes}
        by_node: dict[str, dict[int, list[int]]] = {}
        for number, wanted in cores.items():
            if not roster.members:
                raise CommandError("the application is still starting")
            if number >= len(roster.members):
                raise CommandError(
                    f"there is no rank {number}: the application has ranks 0 to {len(roster.members) - 1}"
                )
            rank = roster.members[number]
            node = roster.node_of(rank)
            if rank not in roster.pids:
                raise CommandError(f"rank {number} is still starting")
            real = self._process_sets.cores_of(node)
            for core in wanted:
                if core >= cores_of[node] or core not in real:
                    usable = sorted(each for each in real if each < cores_of[node])
                    raise CommandError(f"rank {number} is on {node}, which has no core {core} (it has {usable})")
            by_node.setdefault(node, {})[roster.pids[rank]] = wanted
        return by_node
