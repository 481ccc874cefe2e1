"""The first ranks of a job: started on their nodes, as one world or as several that join each other."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

from flexmpi.errors import MembershipError
from flexmpi.runtime.job.application import Application
from flexmpi.runtime.job.options import JobOptions
from flexmpi.runtime.job.roster import RankId, Roster
from flexmpi.runtime.supervisor.meters import Meters
from flexmpi.runtime.supervisor.process_sets import ProcessSets


class Founded(Protocol):
    """What the supervisor offers here."""

    options: JobOptions
    roster: Roster
    application: Application
    process_sets: ProcessSets
    meters: Meters
    founders: list[list[RankId]]

    def tell(self, ranks: Collection[RankId], kind: str, **fields: object) -> None:
        """Send a message to ranks."""

    async def until(self, condition: Callable[[], bool], *, limit_s: float | None = None) -> bool:
        """Wait until something has happened; False if it has not within the limit."""


async def start(job: Founded) -> None:
    """Start the first ranks.

    Raises
    ------
    MembershipError
        A node was refused or not granted in time.
    """
    placement = list(job.options.placement.items())
    environment = {"FLEXMPI_FOUNDERS": str(len(placement)), **job.meters.environment()}
    if job.options.change == "handover":
        places = [await job.process_sets.ready(node) for node, size in placement for _ in range(size)]
        environment |= {"FLEXMPI_CHANGE": "handover", "FLEXMPI_FOUNDERS": "1"}
        job.founders.append(await job.process_sets.start_world(places, environment))
    else:
        for node, size in placement:
            job.founders.append(await job.process_sets.start(node, size, environment))
    job.roster.members = [rank for unit in job.founders for rank in unit]


async def bring_together(job: Founded, *, opened: Collection[RankId]) -> None:
    """Have several founding process sets join each other, once all their ranks have ``opened`` their sessions.

    Raises
    ------
    MembershipError
        This MPI library cannot.
    """
    if len(job.founders) == 1:
        return
    application, members = job.application, set(job.roster.members)
    await job.until(lambda: application.obstacle is not None or members.issubset(opened))
    if application.obstacle is not None:
        raise MembershipError(f"the ranks of several nodes have to join each other: {application.obstacle}")
    for position, unit in enumerate(job.founders):
        job.tell(unit, "assemble", reconfiguration=0, position=position, count=len(job.founders))
