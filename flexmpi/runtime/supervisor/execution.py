"""One reconfiguration being carried out: newcomers are started and brought together, and the application is asked to change.

All it knows comes from the `Job` it is given; it opens no socket and starts no process by itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from flexmpi.cluster.platform import is_to_come
from flexmpi.errors import MembershipError
from flexmpi.runtime.job.application import Application
from flexmpi.runtime.job.balance import measured_weights, weights_after
from flexmpi.runtime.job.diagnosis import difference, hang_message
from flexmpi.runtime.job.grant import Grant
from flexmpi.runtime.job.measurements import IntervalReport
from flexmpi.runtime.job.options import JobOptions, Limits
from flexmpi.runtime.job.places import newcomers_places
from flexmpi.runtime.job.reconfiguration import Reconfiguration, Stage
from flexmpi.runtime.job.roster import RankId, Roster
from flexmpi.runtime.supervisor.bindings import Bindings

ACCEPT_TIMEOUT_S = 3.0
"""How long the application may wait for newcomers that have said they are ready."""

WATCH_S = 0.5
"""How often a reconfiguration that the ranks carry out is looked at."""

PARKING_LIMIT_S = 2.0
"""How long ranks that park may take to fall asleep before new ones are started in their place."""


class Job(Protocol):
    """What the supervisor offers its reconfigurer."""

    options: JobOptions
    roster: Roster
    application: Application
    limits: Limits
    grant: Grant
    latest: IntervalReport | None
    nodes_on_demand: bool
    bindings: Bindings

    def notify(self) -> None:
        """Have all who wait look again."""

    def tell(self, ranks: Collection[RankId], kind: str, **fields: object) -> None:
        """Send a message to ranks."""

    async def start_process_set(self, node: str | None, size: int) -> list[RankId]:
        """Start ranks on a node, or for None on a new node of the provider's choice, and return them."""

    async def ready_node(self, node: str | None) -> str:
        """Have a launcher on a node, or for None on a new node of the provider's choice, and return the node's name."""

    async def start_successor(self, places: Sequence[str]) -> list[RankId]:
        """Start ranks on nodes that are ready, in this order, as one world, and return them."""

    def let_node_go(self, node: str, *, if_idle: bool) -> None:
        """Give a node back; with ``if_idle`` unless a process set lives there."""

    def give_up_nodes(self, nodes: Collection[str]) -> None:
        """Wait no longer for these nodes where they have not been granted yet."""

    async def stopped(self, ranks: Collection[RankId]) -> list[RankId]:
        """Return those of these ranks whose process a signal or a debugger has stopped."""

    def kill_process_set(self, number: int) -> None:
        """End a process set at once."""

    async def until(self, condition: Callable[[], bool], *, limit_s: float | None = None) -> bool:
        """Wait until something has happened; False if it has not within the limit."""

    def warn(self, what: str) -> None:
        """Print a warning."""

    def fail(self, why: str, *, status: int = 1) -> None:
        """End the job with an error."""

    def reconfigured(self, reconfiguration: Reconfiguration) -> None:
        """Take note that a reconfiguration is over."""


class Execution:
    """What it takes to carry out one reconfiguration.

    Parameters
    ----------
    job
        The job that changes.
    wanted
        The reconfiguration, with those who leave.
    outdated
        The latest interval of before the last change, which says nothing of the present ranks; None where there was no change.
    """

    def __init__(self, job: Job, wanted: Reconfiguration, *, outdated: IntervalReport | None) -> None:
        self._job = job
        self._wanted = wanted
        self._outdated = outdated

    async def run(self) -> None:
        """Carry it out; the application has changed when this returns.

        Raises
        ------
        MembershipError
            It is not possible, and the application is as it was.
        """
        growth = {node: change for node, change in self._wanted.changes.items() if change > 0}
        if growth:
            self._wanted.step(Stage.STARTING)
            await self._start(growth)
            await self._bring_together()
            await self._prepare()
        await self._offer()

    async def _start(self, growth: Mapping[str, int]) -> None:
        """Have newcomers ready: parked ranks first, new process sets for the rest."""
        job, wanted, began = self._job, self._wanted, time.monotonic()
        starting = []
        # One that was told to leave a moment ago may not have gone to sleep yet.
        await job.until(lambda: not job.roster.parting() or job.application.finished, limit_s=PARKING_LIMIT_S)
        for node, count in growth.items():
            parked = job.roster.reusable(node, count)
            wanted.units.extend([rank] for rank in parked)
            if count > len(parked):
                starting.append((node, count - len(parked)))
        await self._start_and_await(starting)
        wanted.start_s = time.monotonic() - began

    async def make_ready(self, node: str, count: int) -> None:
        """Start ranks that are to wait until they are wanted; they are ready when this returns.

        Raises
        ------
        MembershipError
            It is not possible.
        """
        began = time.monotonic()
        # Each a process set of its own, for whoever is wanted later joins without the others.
        await self._start_and_await([(node, 1)] * count)
        self._wanted.start_s = time.monotonic() - began

    async def _start_and_await(self, starting: Sequence[tuple[str, int]]) -> None:
        """Start process sets, and wait until they and all other newcomers have reached their loop."""
        job, wanted = self._job, self._wanted
        wanted.started = dict(starting)
        await self._start_process_sets(starting)
        if not await job.until(
            lambda: self._interrupted() or all(rank in job.roster.waiting for rank in wanted.newcomers),
            limit_s=job.limits.ready_timeout_s,
        ):
            missing = [rank for rank in wanted.newcomers if rank not in job.roster.waiting]
            raise MembershipError(
                f"{len(missing)} of {len(wanted.newcomers)} new ranks were not ready within "
                f"{job.limits.ready_timeout_s:g} s (they have not reached flex.iterate)"
            )
        self._check_newcomers()

    async def _start_process_sets(self, starting: Sequence[tuple[str, int]]) -> None:
        """Start on all nodes at once, for each may take its time; those that started are known even if another fails."""
        wanted = self._wanted
        started = await asyncio.gather(
            *(self._job.start_process_set(None if is_to_come(node) else node, count) for node, count in starting),
            return_exceptions=True,
        )
        granted: dict[str, str] = {}
        for (node, _), ranks in zip(starting, started, strict=True):
            if not isinstance(ranks, BaseException):
                wanted.units.append(ranks)
                granted[node] = self._job.roster.node_of(ranks[0])
        for problem in started:
            if isinstance(problem, BaseException):
                raise problem
        wanted.changes = {granted.get(node, node): change for node, change in wanted.changes.items()}

    def _check_newcomers(self) -> None:
        """Raise if the newcomers cannot join any more, or have declared other objects than the application."""
        job, wanted = self._job, self._wanted
        if wanted.withdrawn is not None:
            raise MembershipError(wanted.withdrawn)
        if wanted.lost:
            raise MembershipError(f"{wanted.loss} before it joined")
        if job.application.finished:
            raise MembershipError("the application ended first")
        for rank in wanted.newcomers:
            declared = job.roster.waiting[rank]
            if declared.digest != job.application.digest and declared.loop == job.application.loop:
                raise MembershipError(difference(declared.objects, job.application.objects))

    async def _bring_together(self) -> None:
        """Have several separately started worlds of newcomers join each other, beside the running application."""
        job, wanted, units = self._job, self._wanted, self._wanted.units
        if len(units) == 1:
            return
        wanted.step(Stage.ASSEMBLING)
        for position, unit in enumerate(units):
            job.tell(unit, "assemble", reconfiguration=wanted.number, position=position, count=len(units))
        newcomers = set(wanted.newcomers)
        if not await job.until(
            lambda: self._interrupted() or wanted.assembled >= newcomers, limit_s=job.limits.ready_timeout_s
        ):
            raise MembershipError(f"the new ranks could not join each other within {job.limits.ready_timeout_s:g} s")
        self._check_newcomers()

    async def _prepare(self) -> None:
        """Have newcomers get the memory for their rows beside the running application, which would wait for it otherwise."""
        job, wanted, latest = self._job, self._wanted, self._measured()
        speeds = [job.roster.speed_of(job.roster.node_of(rank)) for rank in (*job.roster.members, *wanted.newcomers)]
        present = speeds[: len(job.roster.members)] if latest is None else latest.weights
        newcomers = speeds[len(job.roster.members) :]
        wanted.places = newcomers_places(present, leaving=wanted.leaving, newcomers=newcomers)
        weights = weights_after(present, leaving=wanted.leaving, newcomers=newcomers, places=wanted.places)
        job.tell(wanted.newcomers, "prepare", reconfiguration=wanted.number, weights=weights, places=wanted.places)
        if not await job.until(
            lambda: self._interrupted() or wanted.prepared >= set(wanted.newcomers), limit_s=job.limits.ready_timeout_s
        ):
            silent = [rank for rank in wanted.newcomers if rank not in wanted.prepared]
            job.roster.spoiled.update(silent)
            raise MembershipError(
                f"{len(silent)} of {len(wanted.newcomers)} new ranks did not get memory for their rows within "
                f"{job.limits.ready_timeout_s:g} s"
            )
        self._check_newcomers()

    async def _new_weights(self) -> tuple[float, ...] | None:
        """Wait for an interval of the present ranks and return the weights it suggests; None where none are wanted."""
        job = self._job
        if not self._wanted.balance:
            return None
        await job.until(lambda: job.application.finished or self._measured() is not None)
        if (latest := self._measured()) is None:
            raise MembershipError("the application ended first")
        return measured_weights(latest.load, latest.busy_s, weights=latest.weights)

    def _measured(self) -> IntervalReport | None:
        """Return the latest interval if the present ranks, with their present rows, were the ones measured."""
        latest = self._job.latest
        return latest if latest is not self._outdated else None

    async def _offer(self) -> None:
        """Put the reconfiguration to rank 0 until the application has carried it out, or cannot."""
        job, wanted = self._job, self._wanted
        weights = await self._new_weights()
        wanted.step(Stage.OFFERED)
        while wanted.stage is Stage.OFFERED:
            await self._catch_up()
            wanted.deferred = False
            job.tell(
                job.roster.members[:1],
                "reconfigure",
                reconfiguration=wanted.number,
                newcomers=[job.roster.speed_of(job.roster.node_of(rank)) for rank in wanted.newcomers],
                places=wanted.places,
                leaving=wanted.leaving,
                parking=wanted.parking,
                loop=job.application.loop,
                digest=job.application.digest,
                accept_timeout_s=ACCEPT_TIMEOUT_S,
                at_iteration=wanted.at_iteration,
                at_once=wanted.at_once,
                weights=weights,
            )
            await job.until(lambda: self._interrupted() or self._replied())
            if wanted.why is not None:
                raise MembershipError(wanted.why)
            if self._interrupted() and wanted.stage is Stage.OFFERED and not wanted.deferred:
                await self._withdraw()
        while not await job.until(lambda: self._answered() or self._moved_ahead(), limit_s=WATCH_S):
            await self._watch()
        while not wanted.figures:
            await self._complete()

    async def _complete(self) -> None:
        """Ask rank 0 for the second step: constant rows have moved, and the newcomers can join."""
        job, wanted = self._job, self._wanted
        why = None
        try:
            await self._catch_up()
        except MembershipError as error:
            # They are connected to the application, which must let go of them before they are ended.
            why = str(error)
        wanted.deferred = False
        job.tell(
            job.roster.members[:1],
            "complete",
            reconfiguration=wanted.number,
            loop=job.application.loop,
            digest=job.application.digest,
            why=why,
        )
        while not await job.until(lambda: self._answered() or wanted.deferred, limit_s=WATCH_S):
            await self._watch()

    def _moved_ahead(self) -> bool:
        """Whether all constant rows have arrived beside the computation."""
        taking_part = [*self._job.roster.members, *self._wanted.newcomers]
        return all(self._wanted.phases.get(rank) == "ahead" for rank in taking_part)

    async def _catch_up(self) -> None:
        """Let newcomers skip the loops that the application has finished, until both are in the same one."""
        job, wanted = self._job, self._wanted
        self._check_newcomers()
        while behind := [rank for rank in wanted.newcomers if job.roster.waiting[rank].loop != job.application.loop]:
            loop = job.application.loop
            for rank in behind:
                del job.roster.waiting[rank]
            job.tell(behind, "skip", loop=loop)
            if not await job.until(
                lambda: self._interrupted() or all(rank in job.roster.waiting for rank in behind),
                limit_s=job.limits.ready_timeout_s,
            ):
                raise MembershipError(f"new ranks did not reach loop {loop} within {job.limits.ready_timeout_s:g} s")
            self._check_newcomers()
        self._check_newcomers()

    async def _withdraw(self) -> None:
        """Take an offer back; the application may have agreed at the same moment, and then it finds nobody to let in."""
        job, wanted = self._job, self._wanted
        if job.application.finished:
            raise MembershipError("the application ended first")
        job.tell(job.roster.members[:1], "withdraw", reconfiguration=wanted.number)
        await job.until(lambda: wanted.why is not None or wanted.stage is Stage.AGREED or job.application.finished)
        if wanted.stage is not Stage.AGREED:
            ended = "the application ended first"
            raise MembershipError(ended if job.application.finished else f"{wanted.loss} before it joined")

    def _interrupted(self) -> bool:
        wanted = self._wanted
        return bool(wanted.lost) or wanted.withdrawn is not None or self._job.application.finished

    def _replied(self) -> bool:
        """Whether rank 0 has agreed to an offer, cannot carry it out in this loop, or refuses it."""
        wanted = self._wanted
        return wanted.deferred or wanted.stage is Stage.AGREED or wanted.why is not None

    def _answered(self) -> bool:
        """Whether the application has carried it out; raises if it could not."""
        wanted = self._wanted
        if wanted.why is not None:
            raise MembershipError(f"{wanted.loss} before it joined" if wanted.lost else wanted.why)
        if self._job.application.finished and wanted.computes_on(self._job.roster.members):
            raise MembershipError("the application ended first")
        return bool(wanted.figures)

    async def _watch(self) -> None:
        """End the job with one clear error if the ranks hang in a reconfiguration."""
        job, wanted = self._job, self._wanted
        silent_s = time.monotonic() - wanted.progress_at
        let_in = any(wanted.phases.get(rank, "agreed") != "agreed" for rank in job.roster.members)
        if wanted.lost:
            if let_in or silent_s > ACCEPT_TIMEOUT_S + 2:
                job.fail(
                    f"reconfiguration {wanted.number}: {wanted.loss} while it joined, and the others wait for it in MPI"
                )
        elif silent_s > job.limits.stall_timeout_s and not wanted.computes_on(job.roster.members):
            stopped = await job.stopped([*job.roster.members, *wanted.newcomers])
            job.fail(hang_message(wanted, job.roster, stopped=stopped, limit_s=job.limits.stall_timeout_s))
