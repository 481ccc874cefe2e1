"""The policies across jobs: pure functions from what there is to who grows and who shrinks, one file each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flexmpi.scheduler.deciding.elastic import Decision, View
from flexmpi.scheduler.deciding.policies.cost import COST, cost
from flexmpi.scheduler.deciding.policies.deadline import DEADLINE, deadline
from flexmpi.scheduler.deciding.policies.energy import ENERGY, energy
from flexmpi.scheduler.deciding.policies.fair import fair
from flexmpi.scheduler.deciding.policies.fill import fill
from flexmpi.scheduler.deciding.policies.sizing import Objective
from flexmpi.scheduler.deciding.policies.throughput import THROUGHPUT, throughput
from flexmpi.scheduler.deciding.policies.triggered import triggered

Policy = Callable[[View], tuple[Decision, ...]]
"""A policy returns at most one decision a job; it gives out free nodes only, and takes only what a job can give back."""

POLICIES: Mapping[str, Policy] = {
    "triggered": triggered,
    "fill": fill,
    "fair": fair,
    "throughput": throughput,
    "deadline": deadline,
    "cost": cost,
    "energy": energy,
}

OBJECTIVES: Mapping[str, Objective] = {each.name: each for each in (THROUGHPUT, DEADLINE, COST, ENERGY)}
"""What the policies that choose sizes by forecasts want."""

SUMMARIES: Mapping[str, str] = {
    "triggered": "sizes change only by people's commands",
    "fill": "idle nodes that nobody waits for go to elastic jobs; jobs that wait get them back",
    "fair": "as fill, in equal shares",
    "throughput": "sizes for all jobs together: the largest sum of relative speeds",
    "deadline": "sizes for all jobs together: those that would not finish in time first, then speeds",
    "cost": "sizes for all jobs together: the lowest price of an iteration that is not too slow",
    "energy": "sizes for all jobs together: the fewest joules for an iteration that is not too slow",
}

NEEDS_ALL_JOBS = frozenset({"fill", "fair", *OBJECTIVES})
"""Those that decide by who waits: they must see all jobs."""
