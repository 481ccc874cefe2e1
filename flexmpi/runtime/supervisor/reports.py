"""What people are shown of a job while it runs: the manual's lines, and what goes to the monitoring service."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from flexmpi.errors import CommandError
from flexmpi.runtime.job.measurements import EnergyReading, IntervalReport
from flexmpi.runtime.job.reconfiguration import Reconfiguration
from flexmpi.runtime.job.roster import Roster
from flexmpi.runtime.reporting import report
from flexmpi.runtime.reporting.monitoring import Monitor


class Reports:
    """Shows what has been measured and done.

    Parameters
    ----------
    roster
        Who is who.
    monitor
        Where reports of the monitoring service go.
    show
        Prints lines in the application's output.
    """

    def __init__(self, roster: Roster, monitor: Monitor, *, show: Callable[..., None]) -> None:
        self._roster = roster
        self._monitor = monitor
        self._show = show
        self._began = time.monotonic()

    @property
    def first_host(self) -> str:
        """The node of rank 0, whose figures the manual's lines show."""
        return self._roster.node_of(self._roster.members[0])

    def interval_ended(self, latest: IntervalReport, *, each_rank: bool) -> None:
        """Report an interval, and on request what each rank measured."""
        self._show(report.interval_line(latest))
        if each_rank:
            self._show(*report.rank_lines(latest))
        self._monitor.report(latest, self.first_host)

    def energy_read(self, readings: Sequence[EnergyReading], *, each_machine: bool) -> None:
        """Report what machines have spent."""
        if each_machine:
            self._show(*(report.energy_line(reading) for reading in readings))
        self._monitor.report_energy(readings)

    def performance(self, latest: IntervalReport | None, energy: Sequence[EnergyReading]) -> str:
        """Return the performance values of the latest interval, None before the first, and what each machine has spent.

        Raises
        ------
        CommandError
            No interval has ended yet.
        """
        if latest is None:
            raise CommandError("no sampling interval has ended yet")
        return report.performance_line(latest, self.first_host, energy)

    def reconfigured(self, done: Reconfiguration) -> None:
        """Report a reconfiguration that was carried out."""
        elapsed_s = time.monotonic() - self._began
        members = enumerate(self._roster.members)
        joined = {number: self._roster.node_of(rank) for number, rank in members if rank in done.added}
        self._show(*report.spawn_lines(done, joined, elapsed_s=elapsed_s))
        self._show(*report.balance_lines(done))
        self._show(*report.ready_lines(done))
        self._show(*report.removal_lines(done, done.left, elapsed_s=elapsed_s))
