"""Orders that are taken back: a job that still waits for nodes may be needed to shrink, or others need those nodes more. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from flexmpi.scheduler.deciding.elastic import ElasticJob, View
from flexmpi.scheduler.deciding.policies.capping import growth_left_w, under_cap
from flexmpi.scheduler.deciding.policies.seating import for_whom, seat_waiting

SMALL_W = 1e-6
"""Sums of watts are no more exact than that."""
CAPPED = "the power cap was lowered"


def for_waiting_jobs(view: View) -> Mapping[str, str]:
    """Return which jobs' growth is to be taken back, by key with the reason, so that a waiting job can start.

    That is so where it could start if none of these orders had been given, and one of those nodes is kept for it, or the growing
    job has to give others back. What can start all the same, or cannot start anyway, takes nothing back.
    """
    settled = replace(view, waiting=tuple(job for job in view.waiting if job.is_settled))
    start_anyway = seat_waiting(settled).kept_for
    seating = seat_waiting(_without_growth(settled))
    taken: dict[str, str] = {}
    for job in view.jobs:
        if job.returning is None:
            continue
        whose = [number for number, kept in seating.kept_for.items() if not set(job.returning).isdisjoint(kept)]
        whose += [number for number in seating.beneficiaries.get(job.key, ()) if number not in whose]
        if whose := [number for number in whose if number not in start_anyway]:
            taken[job.key] = for_whom(whose)
    return taken


def for_the_cap(view: View) -> Mapping[str, str]:
    """Return whose growth is to be taken back because all nodes together would draw too much."""
    if growth_left_w(view) >= -SMALL_W:
        return {}
    forced = {decision.key for decision in under_cap((), _without_growth(view))}
    return {
        job.key: CAPPED
        for job in view.jobs
        if job.returning is not None and (job.key in forced or view.power.dynamic_w(job.joining) > 0)
    }


def all_growth(view: View, *, why: str) -> Mapping[str, str]:
    """Return all jobs whose growth can be taken back."""
    return {job.key: why for job in view.jobs if job.returning is not None}


def _without_growth(view: View) -> View:
    """Return what there would be if no order that can be taken back had been given."""
    returning = [node for job in view.jobs for node in job.returning or ()]
    return replace(
        view, jobs=tuple(map(_as_before, view.jobs)), free=(*view.free, *(n for n in returning if n not in view.free))
    )


def _as_before(job: ElasticJob) -> ElasticJob:
    if job.returning is None:
        return job
    held, arriving = ([node for node in nodes if node not in job.joining] for nodes in (job.held, job.arriving))
    return replace(job, joining=(), held=tuple(held), arriving=tuple(arriving), may_shrink=True)
