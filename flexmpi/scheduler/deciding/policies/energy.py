"""The policy `energy`: the fewest joules for an iteration that is not too slow, by the watts of nodes."""

from __future__ import annotations

from collections.abc import Sequence

from flexmpi.cluster.hostlists import fold_hosts
from flexmpi.models.estimate import Refusal
from flexmpi.models.forecast import Forecast
from flexmpi.scheduler.deciding.elastic import Decision, ElasticJob, View
from flexmpi.scheduler.deciding.policies.sizing import Objective, plan
from flexmpi.scheduler.deciding.policies.thrift import thrifty


def frugality(job: ElasticJob, forecast: Forecast, nodes: Sequence[str], view: View) -> float | Refusal:
    """Return the energy of an iteration, negative, relative to that on the job's fewest nodes."""
    watts, one_w = view.power.total_w(nodes), view.power.total_w(job.keeps[:1])
    if watts is None or one_w is None:
        unknown = [node for node in (*nodes, *job.keeps[:1]) if node not in view.power.watts]
        return Refusal(f"no watts are declared for {fold_hosts(dict.fromkeys(unknown))}")
    smallest = max(one_w, 1e-9) * job.minimum_nodes
    return thrifty(job, forecast, view, nodes=len(nodes), per_second=watts, smallest=smallest)


ENERGY = Objective("energy", frugality, standing=lambda here: 2 * here)


def energy(view: View) -> tuple[Decision, ...]:
    """Bring jobs to the sizes with the least energy for an iteration; jobs that wait come first."""
    return plan(view, ENERGY).decisions()
