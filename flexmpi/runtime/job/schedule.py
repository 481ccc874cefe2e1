"""Changes of ranks that wait for an iteration: command 11, and the schedule file that FlexMPI calls ``malleability``.

Pure: which of them must be prepared now follows from the latest interval and the clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from flexmpi.cluster.platform import ScheduledChange
from flexmpi.runtime.job.measurements import IntervalReport

LEAD_S = 5.0
"""How long before its iteration a change is prepared, so that new ranks are ready by then."""


@dataclass(frozen=True)
class Planned:
    """A scheduled change and who wants it."""

    change: ScheduledChange
    cause: str
    number: int | None = None
    """The id it was promised, if any."""

    @property
    def grows(self) -> bool:
        """Whether it adds ranks anywhere."""
        return any(ranks > 0 for _, ranks in self.change.changes)


def parts_of_growth(change: ScheduledChange, speeds: Sequence[float]) -> list[tuple[tuple[str, int], ...]]:
    """Return a change with none of the ranks that it adds, with one of them, and so on up to all.

    Parameters
    ----------
    change
        The change; what it removes is in every part.
    speeds
        Of a new rank, for each of its names: the fastest come first, as in the original.
    """
    fastest_first = sorted(range(len(speeds)), key=lambda place: -speeds[place])
    order = [place for place in fastest_first for _ in range(change.changes[place][1])]
    parts = []
    for count in range(len(order) + 1):
        added = Counter(order[:count])
        part = [(name, added[place] if ranks > 0 else ranks) for place, (name, ranks) in enumerate(change.changes)]
        parts.append(tuple((name, ranks) for name, ranks in part if ranks))
    return parts


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
