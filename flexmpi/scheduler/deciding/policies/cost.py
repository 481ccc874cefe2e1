"""The policy `cost`: the lowest price of an iteration that is not too slow, by the declared prices of nodes."""

from __future__ import annotations

from collections.abc import Sequence

from flexmpi.models.forecast import Forecast
from flexmpi.scheduler.deciding.elastic import Decision, ElasticJob, View
from flexmpi.scheduler.deciding.policies.sizing import Objective, plan
from flexmpi.scheduler.deciding.policies.thrift import thrifty


def cheapness(job: ElasticJob, forecast: Forecast, nodes: Sequence[str], view: View) -> float:
    """Return the price of an iteration, negative, relative to that on the job's fewest nodes."""
    price = view.rules.price_per_hour
    smallest = price(job.keeps[:1]) * job.minimum_nodes
    return thrifty(job, forecast, view, nodes=len(nodes), per_second=price(nodes), smallest=smallest)


COST = Objective("cost", cheapness, standing=lambda here: 2 * here)


def cost(view: View) -> tuple[Decision, ...]:
    """Bring jobs to the sizes with the lowest price of an iteration; jobs that wait come first."""
    return plan(view, COST).decisions()
