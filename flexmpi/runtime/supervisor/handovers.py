"""The handovers of one job: the one that is under way, and one for which all is ready."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from flexmpi.errors import MembershipError
from flexmpi.runtime.job import worlds
from flexmpi.runtime.job.handover_events import ApplicationEnded, Withdrawn
from flexmpi.runtime.job.measurements import IntervalReport
from flexmpi.runtime.job.reconfiguration import Reconfiguration, Stage
from flexmpi.runtime.job.roster import RankId
from flexmpi.runtime.supervisor.execution import Job
from flexmpi.runtime.supervisor.handing_over import HandingOver

END_LIMIT_S = 20.0
"""How long a successor that is let go may take to end before what is next does not wait for it any more."""


class Handovers:
    """Carries reconfigurations out by handover, one at a time.

    Parameters
    ----------
    job
        The job that changes.

    Attributes
    ----------
    under_way
        The handover under way.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self.under_way: HandingOver | None = None
        self._prepared: HandingOver | None = None
        self._outdated: IntervalReport | None = None
        self._made = 0

    @property
    def all(self) -> list[HandingOver]:
        """What there is of handovers: the one under way, and one for which all is ready."""
        return [each for each in (self.under_way, self._prepared) if each is not None]

    def to_successor(self, ranks: Collection[RankId]) -> HandingOver | None:
        """Return the handover to whose successor some of these ranks belong, if there is one."""
        return next((each for each in self.all if each.concerns(ranks)), None)

    async def carry_out(self, wanted: Reconfiguration) -> None:
        """Change the ranks, in two steps where it cannot be one.

        Raises
        ------
        MembershipError
            It is not possible, and the application is as it was, unless the message says otherwise.
        """
        prepared, self._prepared = self._prepared, None
        present = self._present_places()
        try:
            places = worlds.places_after(present, wanted.changes)
            if prepared is not None and prepared.is_ready and prepared.places == places and not wanted.balance:
                self.under_way = prepared
                await prepared.go(wanted)
                await self._changed(prepared)
                return
            if prepared is not None:
                await self._let_go(prepared)
            steps = worlds.in_steps(present, wanted.changes)
            for number, changes in enumerate(steps):
                try:
                    await self._change(wanted, changes)
                except MembershipError as error:
                    raise MembershipError(f"{error}{await self._undo(steps[:number], wanted)}") from error
        finally:
            self.under_way = None

    async def prepare(self, wanted: Reconfiguration) -> None:
        """Have a successor with so many more ranks wait; it is there as soon as that is the change that is wanted."""
        wanted.step(Stage.STARTING)
        if (prepared := self._prepared) is not None:
            self._prepared = None
            await self._let_go(prepared)
        if any(wanted.ready.values()):
            self.under_way = handing_over = self._new(wanted, None)
            try:
                await handing_over.run()
                self._prepared = handing_over
                self._job.roster.prepared.add(handing_over.pset)
            finally:
                self.under_way = None

    def abandon_prepared(self) -> None:
        """End a successor that waits: the application has ended."""
        if self._prepared is not None:
            self._prepared.apply(ApplicationEnded())
            self._prepared = None

    def _present_places(self) -> list[str]:
        return [self._job.roster.node_of(rank) for rank in self._job.roster.members]

    def _new(self, wanted: Reconfiguration, changes: Mapping[str, int] | None) -> HandingOver:
        self._made += 1
        return HandingOver(self._job, wanted, number=self._made, changes=changes, outdated=self._outdated)

    async def _change(self, wanted: Reconfiguration, changes: Mapping[str, int]) -> None:
        self.under_way = handing_over = self._new(wanted, changes)
        await handing_over.run()
        await self._changed(handing_over)

    async def _changed(self, handing_over: HandingOver) -> None:
        # What was measured until now says nothing of the ranks that there are.
        self._outdated = self._job.latest
        await self._job.bindings.hand_on(handing_over.place_holders)

    async def _undo(self, steps: Sequence[Mapping[str, int]], wanted: Reconfiguration) -> str:
        """Take back the steps of a change of which a later one has failed; return what to say where that fails too."""
        for done in reversed(steps):
            changes = {node: -change for node, change in done.items()}
            back = Reconfiguration(wanted.number, wanted.cause, changes)
            try:
                await self._change(back, changes)
            except MembershipError:
                nodes = ", ".join(f"{count} on {node}" for node, count in self._job.roster.occupied().items())
                return f"; what was added before that stays, there are now {nodes}"
        return ""

    async def _let_go(self, prepared: HandingOver) -> None:
        """End a successor that waits; its nodes are given back when it has ended, and so not from under what is next."""
        psets = self._job.roster.psets
        self._job.roster.prepared.discard(prepared.pset)
        prepared.apply(Withdrawn("another change came first"))
        await self._job.until(lambda: prepared.pset not in psets, limit_s=END_LIMIT_S)
