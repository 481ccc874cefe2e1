"""Whether waiting jobs start with what is idle and kept for them: one that does not is left out for a while. Pure.

What a manager means by a job's reason is not all that it goes by: contiguous nodes, licences of a federation, a plugin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import TypeAdapter

from flexmpi.cluster.state import Job, Snapshot

FIRST_PAUSE_S, LONGEST_PAUSE_S = 600.0, 24 * 3600.0
DOUBLED = 8
"""So many times at most: more is longer than the longest."""


@dataclass(frozen=True)
class Chance:
    """Since when a waiting job could have started without a break.

    Attributes
    ----------
    tasks
        Those of a job array that waited then: once one of them has started there is a new chance.
    """

    since: float
    tasks: str | None = None


@dataclass(frozen=True)
class Doubt:
    """A waiting job that did not start, as often as that.

    Attributes
    ----------
    until
        Until when nothing is kept or given back for it; seconds of the epoch.
    """

    failures: int
    until: float
    tasks: str | None = None


@dataclass(frozen=True)
class Disappointment:
    """A job that has not started with nodes that were idle and kept for it."""

    job: Job
    nodes: tuple[str, ...]
    after_s: float
    pause_s: float


@dataclass(frozen=True)
class SecondLooks:
    """What was expected of waiting jobs, by their numbers, and what came of it."""

    chances: Mapping[int, Chance] = field(default_factory=dict)
    doubts: Mapping[int, Doubt] = field(default_factory=dict)

    def doubted(self, now: float) -> frozenset[int]:
        """Return the jobs for which nothing is kept or given back now."""
        return frozenset(job_id for job_id, doubt in self.doubts.items() if now < doubt.until)

    def after(
        self, could_start: Mapping[int, tuple[str, ...]], snapshot: Snapshot, *, now: float, patience_s: float
    ) -> tuple[SecondLooks, tuple[Disappointment, ...]]:
        """Look again at the jobs that could start.

        Parameters
        ----------
        could_start
            The jobs for which all that they need is idle and kept, with the nodes.
        patience_s
            How long a job may take to start with them.

        Returns
        -------
        SecondLooks, tuple of Disappointment
            What is expected from now on; and the jobs that are left out from now on.
        """
        waiting = {job.job_id: job for job in snapshot.jobs if job.is_waiting}
        doubts = {
            number: doubt
            for number, doubt in self.doubts.items()
            if number in waiting and waiting[number].array_tasks == doubt.tasks
        }
        chances, failed = dict[int, Chance](), list[Disappointment]()
        for number in could_start.keys() & waiting.keys() - self.doubted(now):
            tasks = waiting[number].array_tasks
            known = self.chances.get(number)
            chance = known if known is not None and known.tasks == tasks else Chance(now, tasks)
            if now - chance.since < patience_s:
                chances[number] = chance
                continue
            failures = doubts[number].failures + 1 if number in doubts else 1
            pause_s = min(FIRST_PAUSE_S * 2 ** min(failures - 1, DOUBLED), LONGEST_PAUSE_S)
            doubts[number] = Doubt(failures, now + pause_s, tasks)
            failed.append(Disappointment(waiting[number], could_start[number], now - chance.since, pause_s))
        return SecondLooks(chances, doubts), tuple(failed)


_DOUBTS = TypeAdapter(dict[int, Doubt])


def doubts_as_text(doubts: Mapping[int, Doubt]) -> str:
    """Return doubts as JSON, for an agent that is started later."""
    return _DOUBTS.dump_json(dict(doubts)).decode()


def doubts_of_text(text: str) -> Mapping[int, Doubt]:
    """Return the doubts that `doubts_as_text` made it of; pydantic's ValidationError for any other text."""
    return _DOUBTS.validate_json(text)
