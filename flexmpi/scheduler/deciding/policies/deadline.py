"""The policy `deadline`: jobs that would not finish within their time limit come first, then the largest sum of speeds.

It knows the end of a job from Slurm, and how many iterations its loop has at most from the job. A program that stops earlier,
as converging ones do, or that has more loops to come, is taken for what its present loop says.
"""

from __future__ import annotations

from collections.abc import Sequence

from flexmpi.models.forecast import Forecast
from flexmpi.scheduler.deciding.elastic import Decision, ElasticJob, View
from flexmpi.scheduler.deciding.policies.sizing import Objective, plan
from flexmpi.scheduler.deciding.policies.throughput import weighted_speed

FINISHING = 1000.0
"""What it is worth that a job finishes in time, beside its speed: more than any speed."""


def finishes(job: ElasticJob, forecast: Forecast, nodes: int, now: float) -> bool:
    """Whether a job's loop ends within its time limit on so many nodes, changes included; not, where that is not known."""
    if job.ends_at is None or job.iterations_left is None:
        return False
    predicted = forecast.iteration_s(nodes)
    changing_s = 0.0 if nodes == job.size else job.move.stall_s
    return now + changing_s + job.iterations_left * (predicted.value + predicted.error) <= job.ends_at


def punctuality(job: ElasticJob, forecast: Forecast, nodes: Sequence[str], view: View) -> float:
    """Return the speed, and much more where the job finishes in time."""
    in_time = finishes(job, forecast, len(nodes), view.now)
    return (FINISHING if in_time else 0.0) + weighted_speed(job, forecast, nodes, view)


DEADLINE = Objective("deadline", punctuality, standing=lambda here: 0.0)


def deadline(view: View) -> tuple[Decision, ...]:
    """Bring as many jobs as can be to their end in time; jobs that wait come first."""
    return plan(view, DEADLINE).decisions()
