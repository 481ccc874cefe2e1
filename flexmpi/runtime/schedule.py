"""Changes of ranks that wait for an iteration: command 11, and the schedule file that FlexMPI calls ``malleability``.

Pure: which of them must be prepared now follows from the latest interval and the clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import fmean

from flexmpi.configuration import ScheduledChange
from flexmpi.runtime.report import IntervalReport

LEAD_S = 5.0
"""How long before its iteration a change is prepared, so that new ranks are ready by then."""


@dataclass(frozen=True)
class Planned:
    """A scheduled change and who wants it."""

    change: ScheduledChange
    cause: str
    number: int | None = None
    """The id it was promised, if any."""


@dataclass
class Schedule:
    """What is still to come, the earliest first; of two for one iteration the first that was added."""

    to_come: list[Planned] = field(default_factory=list)

    def add(self, changes: Iterable[ScheduledChange], *, cause: str, number: int | None = None) -> None:
        """Take changes in."""
        planned = [*self.to_come, *(Planned(change, cause, number) for change in changes)]
        self.to_come = sorted(planned, key=lambda each: each.change.at_iteration)

    def before(self, iteration: int) -> list[Planned]:
        """Return what is to come up to an iteration."""
        return [each for each in self.to_come if each.change.at_iteration <= iteration]

    def due(self, latest: IntervalReport) -> list[Planned]:
        """Take out and return the changes to prepare now, by the pace of the latest interval."""
        iteration_s = fmean(latest.real_s) / latest.iterations
        horizon = max(latest.next_at, latest.iteration + LEAD_S / max(iteration_s, 1e-9))
        due = [each for each in self.to_come if each.change.at_iteration <= horizon]
        self.to_come = self.to_come[len(due) :]
        return due
