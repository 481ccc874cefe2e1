"""The queue of reconfigurations of one job: what is asked for is checked and waits for its turn, then it is carried out.

How one is carried out is in ``execution``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from flexmpi.cluster.platform import find_nodes, is_to_come
from flexmpi.errors import CommandError, FlexMPIError, MembershipError
from flexmpi.runtime.job.feasibility import add_up, resolve
from flexmpi.runtime.job.measurements import IntervalReport
from flexmpi.runtime.job.placement import resolve_changes
from flexmpi.runtime.job.reconfiguration import Reconfiguration, Stage
from flexmpi.runtime.supervisor.execution import Execution, Job
from flexmpi.runtime.supervisor.handovers import Handovers

EXIT_LIMIT_S = 20.0
"""How long a process set that has left may take to end before it is killed."""


@dataclass
class Reconfigurer:
    """The queue of reconfigurations of one job, and the one that is under way.

    Where ranks change by handover to another world, and not by joining, there are ``handovers``.
    """

    job: Job
    handovers: Handovers | None = None
    current: Reconfiguration | None = None
    queue: deque[Reconfiguration] = field(default_factory=deque)
    _numbers: int = 0
    _outdated: IntervalReport | None = None

    def request(
        self,
        changes: Sequence[tuple[str, int]],
        *,
        cause: str,
        at_iteration: int = 0,
        number: int | None = None,
        given: Collection[str] = (),
        vacated: Collection[str] = (),
    ) -> Reconfiguration:
        """Queue a change of ranks, checked against what the application will look like when its turn comes.

        Parameters
        ----------
        changes
            Pairs of a node's name or alias and the ranks to add (or to remove, negative).
        cause
            Who wants it.
        at_iteration
            The earliest iteration at which it may be carried out.
        number
            Its id, where `plan` has given it one.
        given, vacated
            The nodes that the agent gives with it, and those that are to have no rank afterwards, however many they have
            when its turn comes.

        Raises
        ------
        CommandError
            It is not possible, with the reason.
        """
        self._check_can_change()
        resolved = self._resolve(changes, self.projected(), given=given)
        wanted = Reconfiguration(number or self._next_number(), cause, resolved, at_iteration=at_iteration)
        wanted.given, wanted.vacated = tuple(given), tuple(vacated)
        return self._queue(wanted)

    def plan(
        self,
        changes: Sequence[tuple[str, int]],
        *,
        cause: str,
        at_iteration: int,
        earlier: Sequence[Sequence[tuple[str, int]]],
    ) -> Reconfiguration:
        """Give a change that is to be requested later its id, checked against what is known now.

        Parameters
        ----------
        changes, cause, at_iteration
            As for `request`.
        earlier
            The changes that are planned before it.

        Raises
        ------
        CommandError
            It is not possible, with the reason.
        """
        self._check_can_change()
        occupied = self.projected()
        for planned in earlier:
            with suppress(CommandError):
                add_up(occupied, self._resolve(planned, occupied))
        resolved = self._resolve(changes, occupied)
        return Reconfiguration(self._next_number(), cause, resolved, at_iteration=at_iteration)

    def resolved(self, changes: Sequence[tuple[str, int]]) -> dict[str, int]:
        """Return a change by nodes, as it would be carried out after all that is queued; CommandError if it is not possible."""
        self._check_can_change()
        return self._resolve(changes, self.projected())

    def drop(self, *, cause: str, why: str, number: int | None = None) -> None:
        """Record that a change that was planned has become impossible."""
        dropped = Reconfiguration(number or self._next_number(), cause, {})
        dropped.fail(why)
        self.job.reconfigured(dropped)

    def _check_can_change(self) -> None:
        if self.job.application.obstacle is not None:
            raise CommandError(f"this application has a fixed size: {self.job.application.obstacle}")
        if self.job.application.no_successor is not None:
            raise CommandError(f"no world can take over from this application: {self.job.application.no_successor}")
        if self.job.application.finished:
            raise CommandError("the application is ending")

    def _next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    def request_first(self, changes: Sequence[tuple[str, int]], *, cause: str) -> Reconfiguration:
        """Put a change before all that is queued: a node that goes away cannot wait.

        Raises
        ------
        CommandError
            It is not possible; the bound on the number of nodes does not count.
        """
        resolved = resolve_changes(
            self.job.roster.nodes,
            self.job.roster.occupied(),
            changes,
            minimum_nodes=1,
            maximum_nodes=len(self.job.roster.nodes),
        )
        wanted = Reconfiguration(self._next_number(), cause, resolved, forced=True)
        self.queue.appendleft(wanted)
        self.job.notify()
        return wanted

    def withdraw(self, wanted: Reconfiguration, *, why: str) -> None:
        """Give up a change that is not wanted any more, with the nodes that it waits for; the application may be changing."""
        if wanted in self.queue:
            self.queue.remove(wanted)
            wanted.fail(why)
            self.job.reconfigured(wanted)
        elif wanted.withdraw(why):
            self.job.give_up_nodes([node for node, change in wanted.changes.items() if change > 0])
            self.job.notify()

    def request_balance(self, *, cause: str) -> Reconfiguration:
        """Queue a balancing of the load.

        Raises
        ------
        CommandError
            The application is ending, or no other world can take over from it.
        """
        if self.handovers is not None:
            self._check_can_change()
        elif self.job.application.finished:
            raise CommandError("the application is ending")
        return self._queue(Reconfiguration(self._next_number(), cause, {}, balance=True))

    def request_ready(self, node: str, count: int, *, cause: str) -> Reconfiguration:
        """Queue that ``count`` ranks wait on a node, ready to join; fewer than there are lets some go.

        Raises
        ------
        CommandError
            It is not possible, with the reason.
        """
        self._check_can_change()
        if count:
            places = list(self._resolve([(node, count)], self.projected()))
        else:
            places = [each.name for each in find_nodes(self.job.roster.nodes, node)]
        if len(places) > 1 or any(map(is_to_come, places)):
            raise CommandError(f"ranks are made ready on one node, and {node} is not: name it")
        return self._queue(Reconfiguration(self._next_number(), cause, {}, ready={places[0]: count}))

    def _queue(self, wanted: Reconfiguration) -> Reconfiguration:
        self.queue.append(wanted)
        self.job.notify()
        return wanted

    def _resolve(
        self, changes: Sequence[tuple[str, int]], occupied: Mapping[str, int], *, given: Collection[str] = ()
    ) -> dict[str, int]:
        job = self.job
        return resolve(
            changes,
            occupied,
            nodes=job.roster.nodes,
            limits=job.limits,
            grant=job.grant,
            given=given,
            on_demand=job.nodes_on_demand,
        )

    def projected(self) -> dict[str, int]:
        """Return the ranks on each node once all that is under way or queued is done."""
        occupied = self.job.roster.occupied()
        current = [self.current] if self.current is not None and not self.current.over else []
        for wanted in (*current, *self.queue):
            add_up(occupied, wanted.changes)
        return occupied

    @property
    def busy(self) -> bool:
        """Whether anything is under way or queued."""
        return bool(self.queue) or (self.current is not None and not self.current.over)

    async def run(self) -> None:
        """Carry out what is queued, for ever."""
        while True:
            await self.job.until(lambda: bool(self.queue))
            self.current = self.queue.popleft()
            try:
                await self._carry_out(self.current)
            except FlexMPIError as error:
                self._abandon(self.current, self.current.withdrawn or str(error))
            except asyncio.CancelledError:
                self.current.fail("the application ended first")
                self.job.reconfigured(self.current)
                raise
            self.job.reconfigured(self.current)
            await self._see_leavers_off()

    def abandon_all(self, why: str) -> None:
        """Give up what is under way or queued: the application has ended."""
        if self.handovers is not None:
            self.handovers.abandon_prepared()
        while self.queue:
            wanted = self.queue.popleft()
            wanted.fail(why)
            self.job.reconfigured(wanted)

    async def _carry_out(self, wanted: Reconfiguration) -> None:
        job, roster = self.job, self.job.roster
        await job.until(
            lambda: job.application.loop is not None or job.application.finished or wanted.withdrawn is not None
        )
        self._check_still_possible(wanted)
        wanted.ranks_before, wanted.nodes_before = len(roster.members), len(roster.occupied())
        if wanted.ready:
            if self.handovers is None:
                await self._make_ready(wanted)
            else:
                await self.handovers.prepare(wanted)
            wanted.ranks_after, wanted.nodes_after = wanted.ranks_before, wanted.nodes_before
            wanted.step(Stage.DONE)
            return
        wanted.leaving = roster.leavers({node: -change for node, change in wanted.changes.items() if change < 0})
        wanted.parking = roster.parking(wanted.leaving)
        left = {number: roster.node_of(roster.members[number]) for number in wanted.leaving}
        if self.handovers is None:
            await Execution(job, wanted, outdated=self._outdated).run()
            roster.change(wanted.leaving, wanted.newcomers, wanted.places)
        else:
            await self.handovers.carry_out(wanted)
        wanted.left = left
        wanted.ranks_after, wanted.nodes_after = len(roster.members), len(roster.occupied())
        self._outdated = job.latest
        wanted.step(Stage.DONE)

    async def _make_ready(self, wanted: Reconfiguration) -> None:
        """Start what is missing of the ranks that are to be ready, or let go what is too many; parked ranks are ready too."""
        roster = self.job.roster
        wanted.step(Stage.STARTING)
        for node, count in wanted.ready.items():
            roster.dismiss(node, most=count)
            there = roster.reusable(node, count)
            if (missing := count - len(there)) > 0:
                await Execution(self.job, wanted, outdated=self._outdated).make_ready(node, missing)
                roster.prepared.update(rank.pset for rank in wanted.newcomers)

    def _check_still_possible(self, wanted: Reconfiguration) -> None:
        if wanted.withdrawn is not None:
            raise MembershipError(wanted.withdrawn)
        if self.job.application.finished:
            raise MembershipError("the application ended first")
        if self.job.application.no_successor is not None:
            raise MembershipError(f"no world can take over from this application: {self.job.application.no_successor}")
        if self.job.application.obstacle is not None and not wanted.balance:
            raise MembershipError(f"this application has a fixed size: {self.job.application.obstacle}")
        if not wanted.balance and not wanted.forced and not wanted.ready:
            occupied = self.job.roster.occupied()
            wanted.vacate(occupied)
            wanted.changes = self._resolve(list(wanted.changes.items()), occupied, given=wanted.given)

    def _abandon(self, wanted: Reconfiguration, why: str) -> None:
        """End a reconfiguration without a change: new process sets go, parked ranks stay where that is safe."""
        job = self.job
        members = {rank.pset for rank in job.roster.members}
        reached = wanted.stage
        wanted.fail(why)
        wanted.why = why
        tried = reached in (Stage.ASSEMBLING, Stage.AGREED) or (reached is Stage.OFFERED and len(wanted.units) > 1)
        if tried:
            job.roster.spoiled.update(rank for rank in wanted.newcomers if rank.pset in members)
        job.tell(wanted.newcomers, "withdraw", reconfiguration=wanted.number)
        for pset in {rank.pset for rank in wanted.newcomers} - members:
            job.kill_process_set(pset)

    async def _see_leavers_off(self) -> None:
        """Release process sets without members, and kill those that do not end."""
        job = self.job
        idle = [pset.number for pset in job.roster.unwanted()]
        for pset in job.roster.unwanted():
            job.tell(pset.ranks, "release")
        if not await job.until(lambda: not any(number in job.roster.psets for number in idle), limit_s=EXIT_LIMIT_S):
            for number in idle:
                if (late := job.roster.psets.get(number)) is not None:
                    where = f"process set {number} (node {', '.join(late.nodes)})"
                    job.warn(f"{where} has left and had not ended after {EXIT_LIMIT_S:g} s: it is killed")
                    job.kill_process_set(number)
