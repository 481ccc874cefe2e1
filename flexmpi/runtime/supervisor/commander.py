"""Answers text commands: what will be done, with a reconfiguration's id, or what is wrong with the command."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from inspect import isawaitable
from typing import Any, Protocol

from flexmpi.cluster.platform import ScheduledChange
from flexmpi.errors import AuthenticationError, CommandError
from flexmpi.protocol.commands import (
    BalanceLoad,
    BindRanks,
    ChangeCounters,
    ChangePolicy,
    ChangeRanks,
    Command,
    DelayIO,
    GrantIO,
    Monitoring,
    PrepareRanks,
    PrintMessage,
    ShowPerformance,
    Terminate,
    parse_command,
)
from flexmpi.protocol.signatures import GREETING, greeted
from flexmpi.runtime.job.measurements import IntervalReport
from flexmpi.runtime.job.policies import JobPolicy
from flexmpi.runtime.job.roster import Roster
from flexmpi.runtime.reporting.monitoring import Monitor
from flexmpi.runtime.reporting.report import create_lines, received_lines, refused_line, sent_line
from flexmpi.runtime.supervisor.admission import Admission, Remarks
from flexmpi.runtime.supervisor.bindings import Bindings
from flexmpi.runtime.supervisor.io_phases import IOPhases
from flexmpi.runtime.supervisor.meters import Meters
from flexmpi.runtime.supervisor.policy_in_force import PolicyInForce
from flexmpi.runtime.supervisor.reconfigurer import Reconfigurer
from flexmpi.runtime.supervisor.reports import Reports

START_LIMIT_S = 4.0
"""How long a command waits for an application that is still starting; its sender waits a little longer."""


class Commanded(Protocol):
    """What the supervisor offers to commands."""

    roster: Roster
    reconfigurer: Reconfigurer
    latest: IntervalReport | None
    policy: PolicyInForce
    monitor: Monitor
    reports: Reports
    meters: Meters
    io_phases: IOPhases
    bindings: Bindings

    def terminate(self) -> None:
        """End the application at its next agreement point."""

    def show(self, *lines: str) -> None:
        """Print in the application's output."""

    async def learn_nodes(self, names: Iterable[str]) -> None:
        """Take in those of these nodes that nobody knew at the start and that the job may have by now."""

    async def until(self, condition: Callable[[], bool], *, limit_s: float | None = None) -> bool:
        """Wait until something has happened; False if it has not within the limit."""


class Commander:
    """Carries out the text commands of one job.

    Parameters
    ----------
    job
        The supervisor.
    admission
        Whose commands they must be.
    """

    def __init__(self, job: Commanded, admission: Admission) -> None:
        self._job = job
        self._admission = admission
        self._remarks = Remarks()
        self._one_by_one = asyncio.Lock()
        self._handlers: dict[type[Command], Callable[[Any], str | Awaitable[str]]] = {
            ChangePolicy: self._change_policy,
            BalanceLoad: self._balance_load,
            ShowPerformance: self._show_performance,
            Monitoring: lambda command: job.monitor.switch(command.on),
            Terminate: self._terminate,
            ChangeRanks: self._change_ranks,
            ChangeCounters: self._change_counters,
            BindRanks: self._bind_ranks,
            DelayIO: self._delay_io,
            GrantIO: self._grant_io,
            PrintMessage: self._print_message,
            PrepareRanks: self._prepare_ranks,
        }

    async def answer(self, datagram: bytes, sender: str) -> str:
        """Carry out one datagram's command, when those before it have been answered, and return the reply to its sender."""
        if datagram == GREETING:
            return greeted(self._admission.number)
        try:
            text = self._admission.admit(datagram, sender)
        except AuthenticationError as error:
            self._job.show(*self._remarks.about(refused_line(sender, str(error))))
            return f"error: {error}"
        async with self._one_by_one:
            try:
                reply = f"ok: {await self._carry_out(text, sender)}"
            except CommandError as error:
                self._job.show(refused_line(sender, str(error)))
                reply = f"error: {error}"
            self._job.show(sent_line(len(reply.encode())))
            return reply

    async def _carry_out(self, text: bytes, sender: str) -> str:
        command = parse_command(text)
        number = int(command.text().partition(":")[0])
        self._job.show(*received_lines(sender, command.text(), number))
        result = self._handlers[type(command)](command)
        return await result if isawaitable(result) else result

    def _change_policy(self, command: ChangePolicy) -> str:
        policy = JobPolicy.named(command.policy, objective=command.objective, threshold=command.threshold)
        self._job.policy.change(policy)
        return f"policy is {policy.summary()}"

    def _balance_load(self, command: BalanceLoad) -> str:
        wanted = self._job.reconfigurer.request_balance(cause=f"udp {command.text()}")
        return f"reconfiguration {wanted.number}: {wanted.summary()}"

    def _show_performance(self, command: ShowPerformance) -> str:
        values = self._job.reports.performance(self._job.latest, self._job.meters.energy)
        self._job.show(values)
        return values

    def _terminate(self, command: Terminate) -> str:
        self._job.terminate()
        return "the application ends at its next agreement point"

    async def _change_ranks(self, command: ChangeRanks) -> str:
        await self._until_started()
        await self._job.learn_nodes(name for name, _ in command.changes)
        cause = f"udp {command.text()}"
        if command.at_iteration is None:
            wanted = self._job.reconfigurer.request(command.changes, cause=cause)
        else:
            wanted = self._job.policy.plan(ScheduledChange(command.at_iteration, command.changes), cause=cause)
        self._job.show(*create_lines(command.changes))
        return f"reconfiguration {wanted.number}: {wanted.summary()}"

    async def _prepare_ranks(self, command: PrepareRanks) -> str:
        await self._until_started()
        await self._job.learn_nodes([command.node])
        cause = f"udp {command.text()}"
        wanted = self._job.reconfigurer.request_ready(command.node, command.ranks, cause=cause)
        return f"reconfiguration {wanted.number}: {wanted.summary()}"

    async def _until_started(self) -> None:
        if not await self._job.until(lambda: bool(self._job.roster.members), limit_s=START_LIMIT_S):
            raise CommandError("the application is still starting")

    async def _change_counters(self, command: ChangeCounters) -> str:
        await self._until_started()
        first, second, monitor = command.first, command.second, self._job.monitor
        names = monitor.with_others(first, second)
        missing = await self._job.meters.follow(names, wanted={first, second or first})
        monitor.counters = names
        return f"counters are {' and '.join(names)}" + (f"; shown as n/a: {missing}" if missing else "")

    async def _bind_ranks(self, command: BindRanks) -> str:
        cores: dict[int, list[int]] = {}
        for rank, core in command.bindings:
            if core not in (of_rank := cores.setdefault(rank, [])):
                of_rank.append(core)
        await self._job.bindings.bind(cores)
        return ", ".join(
            f"rank {rank} on core{'s' if len(bound) > 1 else ''} {','.join(map(str, bound))}"
            for rank, bound in sorted(cores.items())
        )

    def _delay_io(self, command: DelayIO) -> str:
        waits = self._job.io_phases.delay(command.seconds)
        return f"the {'waiting' if waits else 'next'} I/O phase begins {command.seconds:g} s later"

    def _grant_io(self, command: GrantIO) -> str:
        return "the I/O phase begins" if self._job.io_phases.grant() else "no I/O phase waits"

    def _print_message(self, command: PrintMessage) -> str:
        self._job.show(command.message)
        return "printed"
