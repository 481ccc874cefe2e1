"""What is needed before a successor is started: launchers on its nodes, and how fast the present ranks are."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from flexmpi.cluster.platform import is_to_come
from flexmpi.errors import MembershipError
from flexmpi.runtime.job.balance import measured_weights
from flexmpi.runtime.job.measurements import IntervalReport
from flexmpi.runtime.supervisor.execution import Job


async def having_nodes(job: Job, nodes: Sequence[str]) -> tuple[dict[str, str], BaseException | None]:
    """Have a launcher on each of these nodes, for each may take its time; those that are to come are any the provider gives.

    Returns
    -------
    dict
        The name of each that is there.
    BaseException or None
        Why one of them is not.
    """
    answers = await asyncio.gather(
        *(job.ready_node(None if is_to_come(node) else node) for node in nodes), return_exceptions=True
    )
    there = {node: answer for node, answer in zip(nodes, answers, strict=True) if not isinstance(answer, BaseException)}
    return there, next((answer for answer in answers if isinstance(answer, BaseException)), None)


async def present_weights(
    job: Job, nodes: Sequence[str], *, balance: bool, outdated: IntervalReport | None
) -> tuple[float, ...]:
    """Return the weights of the present ranks, measured where the load is to be balanced.

    Parameters
    ----------
    nodes
        The node of each.
    outdated
        The latest interval of before the last change, which says nothing of the present ranks.

    Raises
    ------
    MembershipError
        The application ended before there was anything measured.
    """

    def measured() -> IntervalReport | None:
        return job.latest if job.latest is not outdated else None

    if balance:
        await job.until(lambda: job.application.finished or measured() is not None)
        if (latest := measured()) is None:
            raise MembershipError("the application ended first")
        return measured_weights(latest.load, latest.busy_s, weights=latest.weights)
    latest = measured()
    return tuple(map(job.roster.speed_of, nodes)) if latest is None else tuple(latest.weights)
