"""What a job does beside running: reports, its own policy, scheduled changes, turns at I/O, and bindings to cores.

Each is a pure object; here they meet the end of an interval, a rank's message or a command.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from flexmpi.configuration import ScheduledChange
from flexmpi.errors import CommandError
from flexmpi.protocol.frames import Message
from flexmpi.runtime.job.application import Application
from flexmpi.runtime.job.grant import Grant
from flexmpi.runtime.job.iogate import IOGate
from flexmpi.runtime.job.measurements import EnergyReading, IntervalReport
from flexmpi.runtime.job.options import Limits
from flexmpi.runtime.job.policies import JobPolicy
from flexmpi.runtime.job.reconfiguration import Reconfiguration, Stage
from flexmpi.runtime.job.roster import RankId, Roster
from flexmpi.runtime.job.schedule import Planned, Schedule
from flexmpi.runtime.reporting.eventlog import EventLog
from flexmpi.runtime.reporting.monitoring import Monitor
from flexmpi.runtime.reporting.report import energy_line, interval_line, rank_lines
from flexmpi.runtime.supervisor.meters import Meters
from flexmpi.runtime.supervisor.process_sets import ProcessSets
from flexmpi.runtime.supervisor.reconfigurer import Reconfigurer

if TYPE_CHECKING:
    from flexmpi.runtime.supervisor.adviser import Adviser

BIND_LIMIT_S = 5.0


class Served(Protocol):
    """What the supervisor offers to its services."""

    roster: Roster
    application: Application
    grant: Grant
    limits: Limits
    reconfigurer: Reconfigurer
    process_sets: ProcessSets
    log: EventLog
    nodes_on_demand: bool

    def tell(self, ranks: Collection[RankId], kind: str, **fields: object) -> None:
        """Send a message to ranks."""

    def show(self, *lines: str) -> None:
        """Print in the application's output."""

    def warn(self, what: str) -> None:
        """Print a warning."""

    def spawn(self, coroutine: Coroutine[object, object, None]) -> None:
        """Run something beside the rest."""

    async def until(self, condition: Callable[[], bool], *, limit_s: float | None = None) -> bool:
        """Wait until something has happened; False if it has not within the limit."""


class Services:
    """The services of one job.

    Parameters
    ----------
    job
        The supervisor.
    schedule
        The changes of the schedule file; they count while the policy is ``schedule``.
    monitor
        Where reports go.
    io_controlled
        A controller grants I/O phases.
    counters
        The hardware events that ranks count from their start on.
    policy
        What the job does by itself; None for what a schedule makes of it.
    watts, dry_run
        Declared power of nodes, and whether policies that predict only say what they would do.
    """

    def __init__(
        self,
        job: Served,
        *,
        schedule: Collection[ScheduledChange],
        monitor: Monitor,
        io_controlled: bool,
        counters: Iterable[str] = (),
        policy: JobPolicy | None = None,
        watts: Mapping[str, tuple[float, float]] | None = None,
        dry_run: bool = False,
    ) -> None:
        self.policy = policy or JobPolicy.named("schedule" if schedule else "triggered")
        self._watts, self._dry_run, self._began = watts or {}, dry_run, time.monotonic()
        self._adviser: Adviser | None = None
        self.commanded = Schedule()
        self.monitor = monitor
        self.meters = Meters(job, events=counters, on_energy=self._show_energy)
        self.io = IOGate(io_controlled, time.monotonic)
        self._job = job
        self._has_schedule = bool(schedule)
        self._schedule = Schedule()
        self._schedule.add(schedule, cause="schedule")
        self._held: deque[Planned] = deque()
        self._latest: IntervalReport | None = None
        self._bound: dict[int, str | None] = {}
        self._requests = 0
        self._io_timer: asyncio.TimerHandle | None = None

    def interval_ended(self, latest: IntervalReport, host: str) -> None:
        """Report an interval, and do what is due after it."""
        self._job.show(interval_line(latest))
        if self.policy.name == "monitor":
            self._job.show(*rank_lines(latest))
        self.monitor.report(latest, host)
        self.meters.interval_ended(latest.iteration)
        planned = self.commanded.due(latest)
        if self.policy.name == "schedule":
            scheduled = self._schedule.due(latest)
            if self.policy.conditional:
                self._held += scheduled
            else:
                planned += [*self._held, *scheduled]
                self._held.clear()
        for each in planned:
            self._carry_out(each)
        self.policy = self.policy.after(latest)
        self._latest = latest
        if (adviser := self._advice()) is not None:
            adviser.interval_ended(latest, self.policy)
            if self.policy.conditional:
                self._grow_where_it_gains(adviser, latest)
        if self.policy.wants_balance and not self._job.reconfigurer.busy:
            self._job.reconfigurer.request_balance(cause="policy balance")
            self.policy = self.policy.acted()

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
        if self._adviser is None and self.policy.learns:
            from flexmpi.runtime.supervisor.adviser import Adviser

            self._adviser = Adviser(self._job, watts=self._watts, dry_run=self._dry_run, began=self._began)
        return self._adviser

    def reconfigured(self, reconfiguration: Reconfiguration) -> None:
        """Take note that a reconfiguration is over."""
        if reconfiguration.stage is Stage.DONE:
            self.meters.tell()
        if self._adviser is not None:
            self._adviser.reconfigured(reconfiguration)

    def imagined(self, message: Message) -> None:
        """Take in what ranks say of changes that might happen."""
        if self._adviser is not None:
            self._adviser.imagined(message, self.policy)

    def _show_energy(self, readings: Sequence[EnergyReading]) -> None:
        if self.policy.name == "monitor":
            self._job.show(*(energy_line(reading) for reading in readings))
        self.monitor.report_energy(readings)
        if self._adviser is not None:
            self._adviser.energy_read(readings, self._latest)

    async def change_counters(self, first: str, second: str | None) -> str:
        """Have ranks count other hardware events and reports show them; return what to tell who wanted it.

        Raises
        ------
        CommandError
            These are no events, or none of them can be counted.
        """
        names = self.monitor.with_others(first, second)
        missing = await self.meters.follow(names, wanted={first, second or first})
        self.monitor.counters = names
        return f"counters are {' and '.join(names)}" + (f"; shown as n/a: {missing}" if missing else "")

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

    def change_policy(self, policy: JobPolicy) -> None:
        """Put a policy in force.

        Raises
        ------
        CommandError
            It is ``schedule``, and there is none.
        """
        if policy.name == "schedule" and not self._has_schedule:
            raise CommandError("there is no schedule: start with --schedule FILE")
        self.policy = policy
        self._advice()
        self._job.show(f"Policy is {policy.name}")

    def begin_io(self, rank: RankId, size_bytes: int | None) -> None:
        """A rank wants to begin an I/O phase, and sleeps until it may."""
        if self.io.ask(rank) and self.io.controlled:
            self.monitor.send(f"ACQIO: {'n/a' if size_bytes is None else size_bytes}")
        self.open_io()

    def end_io(self, rank: RankId) -> None:
        """A rank has ended its I/O phase, or is gone."""
        if self.io.leave(rank) and self.io.controlled:
            self.monitor.send("RELQIO")

    def open_io(self) -> None:
        """Let those ranks begin their I/O that may, and look again when the next may."""
        if admitted := self.io.admitted():
            self._job.tell(admitted, "io_go")
        if self._io_timer is not None:
            self._io_timer.cancel()
        if (left_s := self.io.left_s()) is not None:
            self._io_timer = asyncio.get_running_loop().call_later(left_s + 0.001, self.open_io)

    def open_all_io(self) -> None:
        """Let all ranks begin their I/O from now on: the application is to end."""
        self.io.open()
        self.open_io()

    async def bind(self, cores: Mapping[int, list[int]]) -> None:
        """Bind ranks, by their numbers, to cores.

        Raises
        ------
        CommandError
            There is no such rank or core, or a node refuses.
        """
        by_node = self._checked_bindings(cores)
        for node, of_pids in by_node.items():
            self._requests += 1
            request = self._requests
            self._job.process_sets.tell_launcher(node, "bind", request=request, cores=of_pids)
            if not await self._job.until(lambda: request in self._bound, limit_s=BIND_LIMIT_S):  # noqa: B023
                raise CommandError(f"the node launcher of {node} did not answer within {BIND_LIMIT_S:g} s")
            if (refused := self._bound.pop(request)) is not None:
                raise CommandError(f"{node} refused: {refused}")

    def bound(self, message: Message) -> None:
        """Take in a launcher's answer to a binding."""
        self._bound[message["request"]] = message["error"]

    def _checked_bindings(self, cores: Mapping[int, list[int]]) -> dict[str, dict[int, list[int]]]:
        roster = self._job.roster
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
            real = self._job.process_sets.cores_of(node)
            for core in wanted:
                if core >= cores_of[node] or core not in real:
                    usable = sorted(each for each in real if each < cores_of[node])
                    raise CommandError(f"rank {number} is on {node}, which has no core {core} (it has {usable})")
            by_node.setdefault(node, {})[roster.pids[rank]] = wanted
        return by_node
