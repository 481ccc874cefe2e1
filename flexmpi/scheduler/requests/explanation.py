"""Why a job has the size it has: its model, what other sizes would mean, and what the policy says. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from flexmpi.cluster.state import Snapshot, name_of
from flexmpi.models.estimate import Estimate, Refusal
from flexmpi.models.forecast import Forecast
from flexmpi.protocol.replies import Alternative, Explanation, Figure, PowerDraw
from flexmpi.scheduler.deciding.elastic import ElasticJob, View
from flexmpi.scheduler.deciding.policies import OBJECTIVES, SUMMARIES
from flexmpi.scheduler.deciding.policies.capping import draws_now
from flexmpi.scheduler.deciding.policies.sizing import Plan, plan, worth
from flexmpi.scheduler.jobs.ledger import Member

MOST_SHOWN = 16
"""Sizes, so that the answer fits a screen."""
SECONDS_PER_HOUR = 3600.0


def explain(member: Member, view: View, *, policy: str) -> Explanation:
    """Return what there is to say of a job's size."""
    job = view.job_of[member.key]
    forecast = job.forecast
    known = forecast if isinstance(forecast, Forecast) else None
    objective = OBJECTIVES.get(policy)
    made = None if objective is None else plan(view, objective)
    return Explanation(
        job=name_of(member.job),
        name=member.said.name,
        user=member.said.user,
        policy=policy,
        nodes=job.keeps,
        minimum_nodes=job.minimum_nodes,
        maximum_nodes=job.maximum_nodes,
        samples=member.samples.count,
        sampled_nodes=tuple(sorted(member.samples.by_size)),
        serial_s=None if known is None else _figure(known.serial),
        parallel_s=None if known is None else _figure(known.parallel),
        per_node_s=None if known is None else _figure(known.per_node),
        unknown=forecast.why if isinstance(forecast, Refusal) else None,
        start_s=job.move.start_s,
        stall_s=job.move.stall_s,
        changes=len(member.costs),
        reason=f"{policy}: {SUMMARIES[policy]}" if made is None else made.reasons[job.key],
        changed=member.decided,
        alternatives=() if known is None else _alternatives(job, known, view, made),
    )


def power_draw(view: View, snapshot: Snapshot) -> PowerDraw:
    """Return what nodes draw and may draw."""
    power = view.power
    elastic = {node for job in view.jobs for node in draws_now(job)}
    sources = [power.watts[node.name].source for node in snapshot.nodes if node.name in power.watts]
    return PowerDraw(
        cap_w=power.cap_w,
        drawn_w=power.others_w + power.dynamic_w(elastic),
        others_w=power.others_w,
        declared=sources.count("declared"),
        measured=sources.count("measured"),
        undeclared=len(snapshot.nodes) - len(sources),
    )


def _alternatives(job: ElasticJob, known: Forecast, view: View, made: Plan | None) -> tuple[Alternative, ...]:
    sizes = _shown(range(job.minimum_nodes, job.maximum_nodes + 1), {job.size})
    return tuple(_alternative(job, known, size, view, made) for size in sizes)


def _alternative(job: ElasticJob, known: Forecast, size: int, view: View, made: Plan | None) -> Alternative:
    chosen = None if made is None else made.chosen.get(job.key)
    nodes = chosen.nodes if chosen is not None and chosen.size == size else _such_nodes(job, size, view)
    iteration, watts = known.iteration_s(size), view.power.total_w(nodes)
    objective = None if made is None else OBJECTIVES[made.policy]
    value = None if objective is None else worth(job, nodes, view, objective)
    return Alternative(
        nodes=size,
        iteration_s=_figure(iteration),
        speed=known.speed(size, minimum=job.minimum_nodes),
        price=view.rules.price_per_hour(nodes) * iteration.value / SECONDS_PER_HOUR,
        watts=watts,
        joules=None if watts is None else watts * iteration.value,
        watts_source=None if watts is None else view.power.source_of(nodes),
        value=value if isinstance(value, float) else None,
        is_present=size == job.size,
        is_chosen=size == (job.size if chosen is None else chosen.size),
    )


def _such_nodes(job: ElasticJob, size: int, view: View) -> tuple[str, ...]:
    """Return nodes such as the job would have: its own, the ones that came last left first, then free and others' ones."""
    if size <= job.size:
        left = job.removable[: job.size - size]
        kept = tuple(node for node in job.keeps if node not in left)
        return kept[:size]
    others = (node for each in view.jobs for node in each.keeps)
    more = [node for node in dict.fromkeys((*view.free, *others)) if node in job.suitable and node not in job.keeps]
    nodes = (*job.keeps, *more)[:size]
    return (*nodes, *nodes[-1:] * (size - len(nodes)))


def _shown(sizes: range, always: Iterable[int]) -> list[int]:
    """Return all sizes, or a selection with the first, the last and these."""
    if len(sizes) <= MOST_SHOWN:
        return list(sizes)
    step = (len(sizes) - 1) / (MOST_SHOWN - 2)
    chosen = {sizes[round(number * step)] for number in range(MOST_SHOWN - 1)}
    return sorted(chosen | (set(always) & set(sizes)))


def _figure(estimate: Estimate) -> Figure:
    return Figure(value=estimate.value, error=estimate.error)
