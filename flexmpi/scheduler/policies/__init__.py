"""The policies across jobs: pure functions from what there is to who grows and who shrinks, one file each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flexmpi.scheduler.elastic import Decision, View
from flexmpi.scheduler.policies.fair import fair
from flexmpi.scheduler.policies.fill import fill
from flexmpi.scheduler.policies.triggered import triggered

Policy = Callable[[View], tuple[Decision, ...]]
"""A policy returns at most one decision a job; it gives out free nodes only, and takes only what a job can give back."""

POLICIES: Mapping[str, Policy] = {"triggered": triggered, "fill": fill, "fair": fair}

SUMMARIES: Mapping[str, str] = {
    "triggered": "sizes change only by people's commands",
    "fill": "idle nodes that nobody waits for go to elastic jobs; jobs that wait get them back",
    "fair": "as fill, in equal shares",
}

NEEDS_ALL_JOBS = frozenset({"fill", "fair"})
"""Those that decide by who waits: they must see all jobs."""
