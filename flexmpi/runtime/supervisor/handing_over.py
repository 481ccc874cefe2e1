"""One handover being carried out: a successor is started beside the application, and takes over from it.

What follows from what is the machine's, in ``job/handover``; here its events come in, and its instructions are carried out.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Any

from flexmpi.errors import MembershipError
from flexmpi.protocol import handover as said
from flexmpi.protocol.records import as_object
from flexmpi.runtime.job import handover_events as events
from flexmpi.runtime.job import worlds
from flexmpi.runtime.job.diagnosis import files_in_common, late_message, not_ready_message
from flexmpi.runtime.job.handover import Handover, Phase, step
from flexmpi.runtime.job.handover_events import (
    Declared,
    Event,
    Instruction,
    Timer,
)
from flexmpi.runtime.job.handover_figures import added, figures_of
from flexmpi.runtime.job.measurements import IntervalReport
from flexmpi.runtime.job.reconfiguration import Reconfiguration, Stage
from flexmpi.runtime.job.roster import RankId
from flexmpi.runtime.supervisor.execution import Job
from flexmpi.runtime.supervisor.successor_needs import having_nodes, present_weights


class HandingOver:
    """What it takes to carry out one handover.

    Parameters
    ----------
    job
        The job that changes.
    wanted
        The reconfiguration.
    changes
        The net change of ranks on each node, where it is not all that is wanted.
    number
        By which its messages are told from those of others.
    outdated
        The latest interval of before the last change, which says nothing of the present ranks; None where there was no change.

    Attributes
    ----------
    places
        The node of each rank of the successor.
    place_holders
        Whose place each of them takes.
    predecessor_status
        The exit status of the job where the predecessor is lost and the successor too.
    """

    def __init__(
        self,
        job: Job,
        wanted: Reconfiguration,
        *,
        number: int,
        changes: Mapping[str, int] | None = None,
        outdated: IntervalReport | None,
    ) -> None:
        self._job = job
        self._number = number
        self._wanted = wanted
        self._changes = wanted.ready or wanted.changes if changes is None else changes
        self._outdated = outdated
        self._predecessor = list(job.roster.members)
        self._before = [job.roster.node_of(rank) for rank in self._predecessor]
        self._successor: list[RankId] = []
        self.place_holders: dict[RankId, RankId | None] = {}
        self.predecessor_status = 1
        self._granted: list[str] = []
        self._now: Handover | None = None
        self._planned: said.RowsPlanned | None = None
        self._handed_over: said.RowsHandedOver | None = None
        self._taken: said.RowsTaken | None = None
        self._shared: tuple[said.SharedRows, ...] = ()
        self._handed_over_at = self._taken_at = 0.0
        self._has_begun = False
        self._out_of_reach: tuple[int, ...] = ()
        self._waits_since = 0.0
        self._told_end = self._told_withdrawal = False

    async def run(self) -> None:
        """Carry it out; the application has changed when this returns.

        Raises
        ------
        MembershipError
            It is not possible, and the application is as it was.
        """
        job, wanted, began = self._job, self._wanted, time.monotonic()
        try:
            await self._start()
        except MembershipError:
            for node in self._granted:
                job.let_node_go(node, if_idle=True)
            raise
        self._now = Handover(len(self.places), self._application(), wanted=not wanted.ready)
        self._waits_since = time.monotonic()
        self._have_planned()
        while self._now.is_starting:
            await self._see_on()
        wanted.start_s = (wanted.start_s or 0.0) + time.monotonic() - began
        await self._see_it_through()

    async def _start(self) -> None:
        """Have the successor started, on all nodes that it is to be on."""
        job, wanted = self._job, self._wanted
        weights = await present_weights(job, self._before, balance=wanted.balance, outdated=self._outdated)
        if wanted.stage is Stage.QUEUED:
            wanted.step(Stage.STARTING)
        await self._have_nodes()
        self.places = places = worlds.places_after(self._before, self._changes)
        self._weights = worlds.weights_after(self._before, weights, places, job.roster.speed_of)
        wanted.started = {node: count for node, count in self._changes.items() if count > 0}
        self._check_wanted()
        self._successor = await job.start_successor(places)
        wanted.units = [self._successor]
        holders = zip(self._successor, worlds.place_holders(self._before, places), strict=True)
        self.place_holders = {rank: None if holder is None else self._predecessor[holder] for rank, holder in holders}
        new = {None, *(wanted.succeeding or ())}  # of a change in two steps those of the first are new too
        wanted.succeeding = [rank for rank, holder in self.place_holders.items() if holder in new]

    def _have_planned(self) -> None:
        plan = said.PlanRows(self._number, self.places, self._weights, self._out_of_reach)
        self._tell(self._predecessor[:1], plan)

    async def go(self, wanted: Reconfiguration) -> None:
        """Carry out a change for which all is ready; the application has changed when this returns.

        Raises
        ------
        MembershipError
            It is not possible, and the application is as it was.
        """
        wanted.units, wanted.succeeding, wanted.start_s = self._wanted.units, self._wanted.succeeding, 0.0
        self._wanted = wanted
        wanted.step(Stage.STARTING)
        self.apply(events.Wanted())
        await self._see_it_through()

    async def _see_it_through(self) -> None:
        """Wait until it is over, or until all is ready for a change that is not wanted yet."""
        assert self._now is not None
        while not (self._now.over or self.is_ready):
            await self._see_on()
        if self._now.over and self._now.phase is not Phase.DONE:
            raise MembershipError(self._now.reason)
        if self._now.over:
            application, limit_s = self._job.application, self._job.limits.stall_timeout_s
            await self._job.until(lambda: self._has_begun or application.finished, limit_s=limit_s)
            # Where the program takes very long to begin, or is over already, it is recorded what it has taken so far.
            self._begin(time.monotonic() - self._taken_at)

    def _begin(self, begin_s: float) -> None:
        """Note that the successor computes, and have the predecessor end, which must not take its first moments from it."""
        if not self._has_begun:
            self._has_begun = True
            self._note_figures(begin_s)
            self._tell(self._predecessor, said.Succeeded(self._number))
            self._job.notify()

    def _note_figures(self, begin_s: float) -> None:
        planned, there, taken, wanted = self._planned, self._handed_over, self._taken, self._wanted
        assert planned is not None and there is not None and taken is not None
        took_s = self._taken_at - self._handed_over_at
        figures = figures_of(planned, there, taken, take_s=took_s, begin_s=begin_s)
        wanted.figures = {**added(wanted.figures, figures), "iteration": there.iteration}

    @property
    def is_ready(self) -> bool:
        """Whether the successor waits for the change to be wanted."""
        return self._now is not None and self._now.phase is Phase.READY

    @property
    def pset(self) -> int:
        """The number of the successor's process set."""
        return self._successor[0].pset

    async def _have_nodes(self) -> None:
        """Have a launcher on each node where ranks are added; each may take its time."""
        growth = [node for node, change in self._changes.items() if change > 0]
        granted, problem = await having_nodes(self._job, growth)
        self._granted = list(granted.values())
        self._changes = {granted.get(node, node): change for node, change in self._changes.items()}
        self._wanted.changes = {granted.get(node, node): change for node, change in self._wanted.changes.items()}
        if problem is not None:
            raise problem

    def _check_wanted(self) -> None:
        if self._wanted.withdrawn is not None:
            raise MembershipError(self._wanted.withdrawn)
        if self._job.application.finished:
            raise MembershipError("the application ended first")

    def _application(self) -> Declared:
        application = self._job.application
        assert application.loop is not None and application.digest is not None
        return Declared(application.loop, application.digest, application.objects)

    async def _see_on(self) -> None:
        """Wait for the next thing that is no rank's message, or until the handover is over."""
        assert self._now is not None
        job, timer, before = self._job, self._now.timer, (self._now.phase, self._now.timer)
        limit_s = None
        if timer is not None:
            whole_s = job.limits.ready_timeout_s if timer is Timer.START else job.limits.stall_timeout_s
            limit_s = max(0.0, self._waits_since + whole_s - time.monotonic())
        in_time = await job.until(
            lambda: self._now is None or (self._now.phase, self._now.timer) != before or self._has_news(),
            limit_s=limit_s,
        )
        if not in_time and timer is not None:
            self.apply(events.TimeIsUp(timer, await self._why_late(timer)))
        elif self._has_news():
            self._tell_news()

    def _has_news(self) -> bool:
        withdrawn = self._wanted.withdrawn is not None and not self._told_withdrawal
        return withdrawn or (self._job.application.finished and not self._told_end)

    def _tell_news(self) -> None:
        if self._wanted.withdrawn is not None and not self._told_withdrawal:
            self._told_withdrawal = True
            self.apply(events.Withdrawn(self._wanted.withdrawn))
        if self._job.application.finished:
            self._told_end = True
            self.apply(events.ApplicationEnded())

    async def _why_late(self, timer: Timer) -> str:
        assert self._now is not None
        job, now, size = self._job, self._now, len(self._successor)
        if timer is Timer.START:
            missing = size - len(now.ready if now.planned else now.opened)
            return not_ready_message(missing, size, planned=now.planned, limit_s=job.limits.ready_timeout_s)
        waited_for = self._predecessor if timer in (Timer.PLAN, Timer.HAND_OVER) else self._successor
        stopped = await job.stopped(waited_for)
        limit_s = job.limits.stall_timeout_s
        return late_message(self._wanted.number, timer, roster=job.roster, stopped=stopped, limit_s=limit_s)

    # What happens.

    def apply(self, event: Event) -> None:
        """Take an event in, and carry out what follows."""
        if self._now is None:
            return
        before = self._now
        self._now, instructions = step(self._now, event)
        if (self._now.phase, self._now.timer) != (before.phase, before.timer):
            self._waits_since = time.monotonic()
        for instruction in instructions:
            self._obey(instruction)
        self._job.notify()

    def concerns(self, ranks: Collection[RankId]) -> bool:
        """Whether some of these are the successor's."""
        return not set(self._successor).isdisjoint(ranks)

    @property
    def does_without_predecessor(self) -> bool:
        """Whether all that the predecessor held is laid down, and the successor takes it."""
        return self._now is not None and self._now.phase is Phase.TAKING

    def opened(self, rank: RankId) -> None:
        """A rank of the successor has opened its session."""
        self.apply(events.RankOpened(self._successor.index(rank)))

    def loop_began(self) -> None:
        """The application has begun a loop, or declared something in it."""
        self.apply(events.LoopBegan(self._application()))

    def heard(self, rank: RankId, record: Any) -> None:
        """Take in what a rank says, if it is of this handover."""
        if getattr(record, "change", self._number) != self._number or (
            isinstance(record, said.ReadyAtLoop) and rank not in self._successor
        ):
            return
        match record:
            case said.PlanningBegun():
                self.apply(events.PlanningBegun())
            case said.RowsPlanned():
                self._planned = record
                self.apply(events.Planned())
            case said.MemoryOutOfReach(_, ranks):
                # They are to lay their rows into files; the successor is welcomed again when the predecessor has planned so.
                self._out_of_reach = ranks
                self.apply(events.PlansAnew())
                self._have_planned()
            case said.ReadyAtLoop(loop, digest, objects, shared):
                self._shared = shared
                self.apply(events.RankReady(self._successor.index(rank), Declared(loop, digest, objects)))
            case said.HandoverAgreed():
                if self._wanted.stage is Stage.OFFERED:
                    self._wanted.step(Stage.AGREED)
                self.apply(events.Agreed())
            case said.HandoverDeferred():
                self.apply(events.Deferred())
            case said.HandoverRefused(_, why):
                self.apply(events.Refused(why))
            case said.RowsNotTaken(_, why):
                self.apply(events.Refused(f"{self._job.roster.name(rank)}: {why}"))
            case said.FilesInCommon(_, files):
                for text in files_in_common(files, warned=self._job.application.in_common):
                    self._job.warn(text)
            case said.RowsHandedOver():
                self._handed_over, self._handed_over_at = record, time.monotonic()
                self.apply(events.HandedOver(record.exclusive))
            case said.RowsTaken():
                self._taken_at = time.monotonic()
                self._taken = record
                self.apply(events.Taken())
            case said.Computing(_, begin_s):
                self._begin(begin_s)

    def gone(self, pset: int) -> None:
        """Nothing is left of a process set."""
        if self._successor and pset == self.pset:
            self.apply(events.SuccessorGone())

    # What is to be done.

    def _tell(self, ranks: Collection[RankId], record: Any) -> None:
        self._job.tell(ranks, **as_object(record))

    def _obey(self, instruction: Instruction) -> None:
        number, roster = self._number, self._job.roster
        match instruction:
            case events.Welcome(ranks):
                self._welcome([self._successor[rank] for rank in ranks])
            case events.Skip(ranks, loop):
                self._tell([self._successor[rank] for rank in ranks], said.SkipLoop(loop))
            case events.Offer(declared):
                if self._wanted.stage is Stage.STARTING:
                    self._wanted.step(Stage.OFFERED)
                at, unread = self._wanted.at_iteration, self._out_of_reach
                offer = said.OfferHandover(
                    number, declared.loop, declared.digest, at, self.places, self._shared, unread
                )
                self._tell(self._predecessor[:1], offer)
            case events.Withdraw():
                self._tell(self._predecessor[:1], said.WithdrawHandover(number))
            case events.Go():
                assert self._handed_over is not None
                self._tell(self._successor, said.TakeRows(self._handed_over))
            case events.TakeBack(why):
                self._tell(self._predecessor, said.ComputeOn(number, why))
            case events.Begin():
                roster.succeed(self._successor)
                self._tell(self._successor, said.BeginLoop(number))
            case events.EndSuccessor():
                self._job.kill_process_set(self._successor[0].pset)
            case events.FailJob(why):
                self._job.fail(why, status=self.predecessor_status)

    def _welcome(self, ranks: Collection[RankId]) -> None:
        planned = self._planned
        assert planned is not None
        welcome = said.Welcome(
            world=self._successor[0].pset,
            places=self.places,
            weights=self._weights,
            blocks=self._job.options.blocks,
            change=self._number,
            shared=planned.shared,
            before=planned.before,
            places_before=planned.places_before,
            pids_before=tuple(self._job.roster.pids.get(rank, 0) for rank in self._predecessor),
            constants=planned.constants,
            matrices=planned.matrices,
            out_of_reach=self._out_of_reach,
        )
        self._tell(ranks, welcome)
