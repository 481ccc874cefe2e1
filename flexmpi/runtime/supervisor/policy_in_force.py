"""The job's own policy, and the changes that are planned for iterations to come: what they ask for when an interval ends.

What a policy is, and when a change is due, is decided in ``job``; policies that predict are asked in ``adviser``.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from flexmpi.cluster.platform import ScheduledChange
from flexmpi.errors import CommandError
from flexmpi.protocol.frames import Message
from flexmpi.runtime.job.application import Application
from flexmpi.runtime.job.grant import Grant
from flexmpi.runtime.job.measurements import EnergyReading, IntervalReport
from flexmpi.runtime.job.options import Limits
from flexmpi.runtime.job.policies import JobPolicy
from flexmpi.runtime.job.reconfiguration import Reconfiguration
from flexmpi.runtime.job.roster import RankId, Roster
from flexmpi.runtime.job.schedule import Planned, Schedule
from flexmpi.runtime.reporting.eventlog import EventLog
from flexmpi.runtime.supervisor.reconfigurer import Reconfigurer

if TYPE_CHECKING:
    from flexmpi.runtime.supervisor.adviser import Adviser


class Governed(Protocol):
    """What the supervisor offers to the policy in force."""

    roster: Roster
    application: Application
    grant: Grant
    limits: Limits
    reconfigurer: Reconfigurer
    log: EventLog
    latest: IntervalReport | None
    nodes_on_demand: bool

    def tell(self, ranks: Collection[RankId], kind: str, **fields: object) -> None:
        """Send a message to ranks."""

    def show(self, *lines: str) -> None:
        """Print in the application's output."""

    def spawn(self, coroutine: Coroutine[object, object, None]) -> object:
        """Run something beside the rest."""


class PolicyInForce:
    """The policy of one job, and its planned changes.

    Parameters
    ----------
    job
        The supervisor.
    schedule
        The changes of the schedule file; they count while the policy is ``schedule``.
    policy
        What the job does by itself; None for what a schedule makes of it.
    watts, dry_run
        Declared power of nodes, and whether policies that predict only say what they would do.

    Attributes
    ----------
    current
        The policy.
    commanded
        The changes that commands have planned; they count under every policy.
    """

    def __init__(
        self,
        job: Governed,
        *,
        schedule: Collection[ScheduledChange],
        policy: JobPolicy | None = None,
        watts: Mapping[str, tuple[float, float]] | None = None,
        dry_run: bool = False,
    ) -> None:
        self.current = policy or JobPolicy.named("schedule" if schedule else "triggered")
        self.commanded = Schedule()
        self._watts, self._dry_run, self._began = watts or {}, dry_run, time.monotonic()
        self._adviser: Adviser | None = None
        self._job = job
        self._has_schedule = bool(schedule)
        self._schedule = Schedule()
        self._schedule.add(schedule, cause="schedule")
        self._held: deque[Planned] = deque()

    @property
    def watches(self) -> bool:
        """Whether it shows what each rank and each machine measures: the policy ``monitor``."""
        return self.current.name == "monitor"

    def interval_ended(self, latest: IntervalReport) -> None:
        """Ask for what is due after an interval."""
        planned = self.commanded.due(latest)
        if self.current.name == "schedule":
            scheduled = self._schedule.due(latest)
            if self.current.conditional:
                self._held += scheduled
            else:
                planned += [*self._held, *scheduled]
                self._held.clear()
        for each in planned:
            self._carry_out(each)
        self.current = self.current.after(latest)
        if (adviser := self._advice()) is not None:
            adviser.interval_ended(latest, self.current)
            if self.current.conditional:
                self._grow_where_it_gains(adviser, latest)
        if self.current.wants_balance and not self._job.reconfigurer.busy:
            with suppress(CommandError):  # who asks for a change is told why there is none
                self._job.reconfigurer.request_balance(cause="policy balance")
            self.current = self.current.acted()

    def _grow_where_it_gains(self, adviser: Adviser, latest: IntervalReport) -> None:
        """Carry the schedule out in its order, up to a growth of which is not known yet how much of it gains."""
        while self._held and not self._held[0].grows:
            self._carry_out(self._held.popleft())
        if self._held:
            adviser.grow(self._held[0], latest, self._grow)

    def _grow(self, part: Planned | None) -> None:
        """Carry out what gains of the first growth that is held back; a part of None is nothing of it."""
        whole = self._held.popleft()
        if part is not None:
            self._carry_out(part)
        elif not self._dry_run:
            why = f"planned for iteration {whole.change.at_iteration}: no part of it is predicted to gain"
            self._job.reconfigurer.drop(cause=whole.cause, why=why, number=whole.number)

    def _advice(self) -> Adviser | None:
        """Return who predicts, loaded when the first policy needs it; None before that."""
        if self._adviser is None and self.current.learns:
            from flexmpi.runtime.supervisor.adviser import Adviser

            self._adviser = Adviser(self._job, watts=self._watts, dry_run=self._dry_run, began=self._began)
        return self._adviser

    def reconfigured(self, reconfiguration: Reconfiguration) -> None:
        """Take note that a reconfiguration is over."""
        if self._adviser is not None:
            self._adviser.reconfigured(reconfiguration)

    def imagined(self, message: Message) -> None:
        """Take in what ranks say of changes that might happen."""
        if self._adviser is not None:
            self._adviser.imagined(message, self.current)

    def energy_read(self, readings: Sequence[EnergyReading]) -> None:
        """Take in what machines have spent."""
        if self._adviser is not None:
            self._adviser.energy_read(readings, self._job.latest)

    def _carry_out(self, planned: Planned) -> None:
        change, reconfigurer = planned.change, self._job.reconfigurer
        try:
            reconfigurer.request(
                change.changes, cause=planned.cause, at_iteration=change.at_iteration, number=planned.number
            )
        except CommandError as error:
            why = f"planned for iteration {change.at_iteration}: {error}"
            reconfigurer.drop(cause=planned.cause, why=why, number=planned.number)

    def plan(self, change: ScheduledChange, *, cause: str) -> Reconfiguration:
        """Take in a change for an iteration to come.

        Raises
        ------
        CommandError
            It is not possible by what is known now.
        """
        earlier = self.commanded.before(change.at_iteration)
        planned = self._job.reconfigurer.plan(
            change.changes,
            cause=cause,
            at_iteration=change.at_iteration,
            earlier=[each.change.changes for each in earlier],
        )
        self.commanded.add([change], cause=cause, number=planned.number)
        return planned

    def change(self, policy: JobPolicy) -> None:
        """Put a policy in force.

        Raises
        ------
        CommandError
            It is ``schedule``, and there is none.
        """
        if policy.name == "schedule" and not self._has_schedule:
            raise CommandError("there is no schedule: start with --schedule FILE")
        self.current = policy
        self._advice()
        self._job.show(f"Policy is {policy.name}")
