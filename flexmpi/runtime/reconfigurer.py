"""Carries out reconfigurations, one after the other: starts newcomers, brings them together, offers them to the application.

All it knows comes from the `Job` it is given; it opens no socket and starts no process by itself.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from flexmpi.configuration import ANY_NODE
from flexmpi.errors import CommandError, FlexMPIError, MembershipError
from flexmpi.runtime.balance import measured_weights
from flexmpi.runtime.diagnosis import difference, hang_message
from flexmpi.runtime.job import Job
from flexmpi.runtime.placement import resolve_changes
from flexmpi.runtime.reconfiguration import Reconfiguration, Stage
from flexmpi.runtime.report import IntervalReport

ACCEPT_TIMEOUT_S = 3.0
"""How long the application may wait for newcomers that have said they are ready."""

WATCH_S = 0.5
"""How often a reconfiguration that the ranks carry out is looked at."""

EXIT_LIMIT_S = 20.0
"""How long a process set that has left may take to end before it is killed."""


@dataclass
class Reconfigurer:
    """The queue of reconfigurations of one job, and the one that is under way."""

    job: Job
    current: Reconfiguration | None = None
    queue: deque[Reconfiguration] = field(default_factory=deque)
    _numbers: int = 0
    _outdated: IntervalReport | None = None

    def request(
        self, changes: Sequence[tuple[str, int]], *, cause: str, at_iteration: int = 0, number: int | None = None
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

        Raises
        ------
        CommandError
            It is not possible, with the reason.
        """
        self._check_can_change()
        resolved = self._resolve(changes, self._projected())
        return self._queue(Reconfiguration(number or self._next_number(), cause, resolved, at_iteration=at_iteration))

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
        occupied = self._projected()
        for planned in earlier:
            with suppress(CommandError):
                _add_up(occupied, self._resolve(planned, occupied))
        resolved = self._resolve(changes, occupied)
        return Reconfiguration(self._next_number(), cause, resolved, at_iteration=at_iteration)

    def drop(self, *, cause: str, why: str, number: int | None = None) -> None:
        """Record that a change that was planned has become impossible."""
        dropped = Reconfiguration(number or self._next_number(), cause, {})
        dropped.fail(why)
        self.job.reconfigured(dropped)

    def _check_can_change(self) -> None:
        if self.job.application.obstacle is not None:
            raise CommandError(f"this application has a fixed size: {self.job.application.obstacle}")
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

    def request_balance(self, *, cause: str) -> Reconfiguration:
        """Queue a balancing of the load.

        Raises
        ------
        CommandError
            The application is ending.
        """
        if self.job.application.finished:
            raise CommandError("the application is ending")
        return self._queue(Reconfiguration(self._next_number(), cause, {}, balance=True))

    def _queue(self, wanted: Reconfiguration) -> Reconfiguration:
        self.queue.append(wanted)
        self.job.notify()
        return wanted

    def _resolve(self, changes: Sequence[tuple[str, int]], occupied: Mapping[str, int]) -> dict[str, int]:
        limits, nodes = self.job.limits, self.job.roster.nodes
        on_new_node = 0
        if self.job.nodes_on_demand:
            on_new_node = sum(change for name, change in changes if name == ANY_NODE and change > 0)
            changes = [(name, change) for name, change in changes if name != ANY_NODE or change < 0]
        if on_new_node > max(node.cores for node in nodes):
            raise CommandError(f"{on_new_node} ranks do not fit on one new node")
        new_nodes = int(on_new_node > 0) + int(ANY_NODE in occupied)
        if new_nodes and len(occupied) + int(on_new_node > 0) > limits.maximum_nodes:
            raise CommandError(f"the application may have {limits.maximum_nodes} nodes at most")
        known = {node: ranks for node, ranks in occupied.items() if node != ANY_NODE}
        if on_new_node and not changes:
            return {ANY_NODE: on_new_node}
        resolved = resolve_changes(
            nodes,
            known,
            changes,
            minimum_nodes=limits.minimum_nodes,
            maximum_nodes=limits.maximum_nodes - new_nodes,
        )
        return resolved | ({ANY_NODE: on_new_node} if on_new_node else {})

    def _projected(self) -> dict[str, int]:
        """Ranks on each node once all that is under way or queued is done."""
        occupied = self.job.roster.occupied()
        current = [self.current] if self.current is not None and not self.current.over else []
        for wanted in (*current, *self.queue):
            _add_up(occupied, wanted.changes)
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
                self._abandon(self.current, str(error))
            except asyncio.CancelledError:
                self.current.fail("the application ended first")
                self.job.reconfigured(self.current)
                raise
            self.job.reconfigured(self.current)
            await self._see_leavers_off()

    def abandon_all(self, why: str) -> None:
        """Give up what is under way or queued: the application has ended."""
        while self.queue:
            wanted = self.queue.popleft()
            wanted.fail(why)
            self.job.reconfigured(wanted)

    async def _carry_out(self, wanted: Reconfiguration) -> None:
        job, roster = self.job, self.job.roster
        await job.until(lambda: job.application.loop is not None or job.application.finished)
        self._check_still_possible(wanted)
        wanted.ranks_before, wanted.nodes_before = len(roster.members), len(roster.occupied())
        wanted.leaving = roster.leavers({node: -change for node, change in wanted.changes.items() if change < 0})
        wanted.parking = roster.parking(wanted.leaving)
        growth = {node: change for node, change in wanted.changes.items() if change > 0}
        if growth:
            wanted.step(Stage.STARTING)
            await self._start(wanted, growth)
            await self._bring_together(wanted)
        await self._offer(wanted)
        wanted.left = {number: roster.node_of(roster.members[number]) for number in wanted.leaving}
        roster.change(wanted.leaving, wanted.newcomers)
        wanted.ranks_after, wanted.nodes_after = len(roster.members), len(roster.occupied())
        self._outdated = job.latest
        wanted.step(Stage.DONE)

    def _check_still_possible(self, wanted: Reconfiguration) -> None:
        if self.job.application.finished:
            raise MembershipError("the application ended first")
        if self.job.application.obstacle is not None and not wanted.balance:
            raise MembershipError(f"this application has a fixed size: {self.job.application.obstacle}")
        if not wanted.balance and not wanted.forced:
            self._resolve(list(wanted.changes.items()), self.job.roster.occupied())

    async def _start(self, wanted: Reconfiguration, growth: Mapping[str, int]) -> None:
        """Have newcomers ready: parked ranks first, new process sets for the rest."""
        job, began = self.job, time.monotonic()
        starting = []
        for node, count in growth.items():
            parked = job.roster.reusable(node, count)
            wanted.units.extend([rank] for rank in parked)
            if count > len(parked):
                starting.append((node, count - len(parked)))
        await self._start_process_sets(wanted, starting)
        if not await job.until(
            lambda: self._interrupted(wanted) or all(rank in job.roster.waiting for rank in wanted.newcomers),
            limit_s=job.limits.ready_timeout_s,
        ):
            missing = [rank for rank in wanted.newcomers if rank not in job.roster.waiting]
            raise MembershipError(
                f"{len(missing)} of {len(wanted.newcomers)} new ranks were not ready within "
                f"{job.limits.ready_timeout_s:g} s (they have not reached flex.iterate)"
            )
        self._check_newcomers(wanted)
        wanted.start_s = time.monotonic() - began

    async def _start_process_sets(self, wanted: Reconfiguration, starting: Sequence[tuple[str, int]]) -> None:
        """Start on all nodes at once, for each may take its time; those that started are known even if another fails."""
        started = await asyncio.gather(
            *(self.job.start_process_set(None if node == ANY_NODE else node, count) for node, count in starting),
            return_exceptions=True,
        )
        wanted.units.extend(ranks for ranks in started if not isinstance(ranks, BaseException))
        for problem in started:
            if isinstance(problem, BaseException):
                raise problem
        granted = {ANY_NODE: self.job.roster.node_of(wanted.units[-1][0])} if wanted.units else {}
        wanted.changes = {granted.get(node, node): change for node, change in wanted.changes.items()}

    def _check_newcomers(self, wanted: Reconfiguration) -> None:
        """Raise if the newcomers cannot join any more, or have declared other objects than the application."""
        job = self.job
        if wanted.lost:
            raise MembershipError(f"{wanted.loss} before it joined")
        if job.application.finished:
            raise MembershipError("the application ended first")
        for rank in wanted.newcomers:
            declared = job.roster.waiting[rank]
            if declared.digest != job.application.digest and declared.loop == job.application.loop:
                raise MembershipError(difference(declared.objects, job.application.objects))

    async def _bring_together(self, wanted: Reconfiguration) -> None:
        """Have several separately started worlds of newcomers join each other, beside the running application."""
        job, units = self.job, wanted.units
        if len(units) == 1:
            return
        wanted.step(Stage.ASSEMBLING)
        for position, unit in enumerate(units):
            job.tell(unit, "assemble", reconfiguration=wanted.number, position=position, count=len(units))
        newcomers = set(wanted.newcomers)
        if not await job.until(
            lambda: self._interrupted(wanted) or wanted.assembled >= newcomers, limit_s=job.limits.ready_timeout_s
        ):
            raise MembershipError(f"the new ranks could not join each other within {job.limits.ready_timeout_s:g} s")
        self._check_newcomers(wanted)

    async def _new_weights(self, wanted: Reconfiguration) -> tuple[float, ...] | None:
        """Wait for an interval of the present ranks and return the weights it suggests; None where none are wanted."""
        if not wanted.balance:
            return None
        job = self.job
        await job.until(lambda: job.application.finished or self._measured() is not None)
        if (latest := self._measured()) is None:
            raise MembershipError("the application ended first")
        return measured_weights(latest.load, latest.busy_s, weights=latest.weights)

    def _measured(self) -> IntervalReport | None:
        """Return the latest interval if the present ranks, with their present rows, were the ones measured."""
        latest = self.job.latest
        return latest if latest is not self._outdated else None

    async def _offer(self, wanted: Reconfiguration) -> None:
        """Put the reconfiguration to rank 0 until the application has carried it out, or cannot."""
        job = self.job
        weights = await self._new_weights(wanted)
        wanted.step(Stage.OFFERED)
        while wanted.stage is Stage.OFFERED:
            await self._catch_up(wanted)
            wanted.deferred = False
            job.tell(
                job.roster.members[:1],
                "reconfigure",
                reconfiguration=wanted.number,
                newcomers=[job.roster.speed_of(job.roster.node_of(rank)) for rank in wanted.newcomers],
                leaving=wanted.leaving,
                parking=wanted.parking,
                loop=job.application.loop,
                digest=job.application.digest,
                accept_timeout_s=ACCEPT_TIMEOUT_S,
                at_iteration=wanted.at_iteration,
                weights=weights,
            )
            await job.until(lambda: self._interrupted(wanted) or self._replied(wanted))
            if wanted.why is not None:
                raise MembershipError(wanted.why)
            if self._interrupted(wanted) and wanted.stage is Stage.OFFERED and not wanted.deferred:
                await self._withdraw(wanted)
        while not await job.until(lambda: self._answered(wanted), limit_s=WATCH_S):
            await self._watch(wanted)

    async def _catch_up(self, wanted: Reconfiguration) -> None:
        """Let newcomers skip the loops that the application has finished, until both are in the same one."""
        job = self.job
        self._check_newcomers(wanted)
        while behind := [rank for rank in wanted.newcomers if job.roster.waiting[rank].loop != job.application.loop]:
            loop = job.application.loop
            for rank in behind:
                del job.roster.waiting[rank]
            job.tell(behind, "skip", loop=loop)
            if not await job.until(
                lambda: self._interrupted(wanted) or all(rank in job.roster.waiting for rank in behind),
                limit_s=job.limits.ready_timeout_s,
            ):
                raise MembershipError(f"new ranks did not reach loop {loop} within {job.limits.ready_timeout_s:g} s")
            self._check_newcomers(wanted)
        self._check_newcomers(wanted)

    async def _withdraw(self, wanted: Reconfiguration) -> None:
        """Take an offer back; the application may have agreed at the same moment, and then it finds nobody to let in."""
        job = self.job
        if job.application.finished:
            raise MembershipError("the application ended first")
        job.tell(job.roster.members[:1], "withdraw", reconfiguration=wanted.number)
        await job.until(lambda: wanted.why is not None or wanted.stage is Stage.AGREED or job.application.finished)
        if wanted.stage is not Stage.AGREED:
            ended = "the application ended first"
            raise MembershipError(ended if job.application.finished else f"{wanted.loss} before it joined")

    def _interrupted(self, wanted: Reconfiguration) -> bool:
        return bool(wanted.lost) or self.job.application.finished

    def _replied(self, wanted: Reconfiguration) -> bool:
        """Whether rank 0 has agreed to an offer, cannot carry it out in this loop, or refuses it."""
        return wanted.deferred or wanted.stage is Stage.AGREED or wanted.why is not None

    def _answered(self, wanted: Reconfiguration) -> bool:
        """Whether the application has carried it out; raises if it could not."""
        if wanted.why is not None:
            raise MembershipError(f"{wanted.loss} before it joined" if wanted.lost else wanted.why)
        return bool(wanted.figures)

    async def _watch(self, wanted: Reconfiguration) -> None:
        """End the job with one clear error if the ranks hang in a reconfiguration."""
        job = self.job
        silent_s = time.monotonic() - wanted.progress_at
        let_in = any(wanted.phases.get(rank, "agreed") != "agreed" for rank in job.roster.members)
        if wanted.lost:
            if let_in or silent_s > ACCEPT_TIMEOUT_S + 2:
                job.fail(
                    f"reconfiguration {wanted.number}: {wanted.loss} while it joined, and the others wait for it in MPI"
                )
        elif silent_s > job.limits.stall_timeout_s:
            stopped = await job.stopped([*job.roster.members, *wanted.newcomers])
            job.fail(hang_message(wanted, job.roster, stopped=stopped, limit_s=job.limits.stall_timeout_s))

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
        idle = [pset.number for pset in job.roster.idle()]
        for pset in job.roster.idle():
            job.tell(pset.ranks, "release")
        if not await job.until(lambda: not any(number in job.roster.psets for number in idle), limit_s=EXIT_LIMIT_S):
            for number in idle:
                job.kill_process_set(number)


def _add_up(occupied: dict[str, int], changes: Mapping[str, int]) -> None:
    for node, change in changes.items():
        occupied[node] = occupied.get(node, 0) + change
