"""The policy `throughput`: the largest sum of the jobs' weighted speeds, each relative to that on the job's fewest nodes."""

from __future__ import annotations

from collections.abc import Sequence

from flexmpi.models.forecast import Forecast
from flexmpi.scheduler.deciding.elastic import Decision, ElasticJob, View
from flexmpi.scheduler.deciding.policies.sizing import Objective, plan


def weighted_speed(job: ElasticJob, forecast: Forecast, nodes: Sequence[str], view: View) -> float:
    """Return ``w t(min) / t(n)``."""
    return job.weight * forecast.speed(len(nodes), minimum=job.minimum_nodes)


THROUGHPUT = Objective("throughput", weighted_speed, standing=lambda here: 0.0)


def throughput(view: View) -> tuple[Decision, ...]:
    """Bring jobs to the sizes with the largest sum of speeds; jobs that wait come first."""
    return plan(view, THROUGHPUT).decisions()
