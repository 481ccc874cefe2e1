"""What the policies `cost` and `energy` share: the least of something for an iteration, at a bounded slowdown. Pure."""

from __future__ import annotations

from flexmpi.models.forecast import Forecast
from flexmpi.scheduler.deciding.elastic import ElasticJob, View

TOO_SLOW = 100.0
"""What it costs to be twice as slow as allowed, in units of what the fewest nodes cost."""


def thrifty(
    job: ElasticJob, forecast: Forecast, view: View, *, nodes: int, per_second: float, smallest: float
) -> float:
    """Return the value of so many nodes: less for each unit spent, much less for slowness beyond the bound.

    Parameters
    ----------
    per_second
        What these nodes cost a second.
    smallest
        What the job's fewest nodes cost a second: the unit, so that all jobs count alike.
    """
    seconds = forecast.iteration_s(nodes).value
    fastest = forecast.fastest(minimum=job.minimum_nodes, maximum=job.maximum_nodes)
    fastest_s = forecast.iteration_s(fastest).value
    least = max(smallest * forecast.iteration_s(job.minimum_nodes).value, 1e-12)
    excess = max(0.0, seconds / max(view.rules.slowdown * fastest_s, 1e-12) - 1)
    return -job.weight * (per_second * seconds / least + TOO_SLOW * excess)
