"""Sizes for all elastic jobs together: what the policies that decide by forecasts share. Pure.

Each of them says what a job's size is worth (`Objective`). Here that becomes an instance for the optimiser, within the nodes of
each class, the jobs' ranges and the power cap, and its answer becomes decisions: nodes are left first, and given out when
they are free. Jobs that wait come first, as in `fill`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice

from flexmpi.models.estimate import Refusal
from flexmpi.models.forecast import Forecast
from flexmpi.optimiser import Choice, Infeasible, Instance, optimise
from flexmpi.scheduler.deciding.elastic import Decision, ElasticJob, View
from flexmpi.scheduler.deciding.policies.seating import Seating, seat_waiting

MARGIN = 0.02
"""A change must promise so much of the present value more than it costs: forecasts are no better than that."""
MOST_SIZES = 32
"""Of one job that are looked at."""


@dataclass(frozen=True)
class Objective:
    """What a policy wants of a job's size.

    Attributes
    ----------
    name
        The policy's.
    value
        What it is worth for a job to have these nodes; more is better, the same scale for all jobs.
    standing
        From the value of a job's present size: what it is worth to stand still while nodes change.
    """

    name: str
    value: Callable[[ElasticJob, Forecast, Sequence[str], View], float | Refusal]
    standing: Callable[[float], float]


@dataclass(frozen=True)
class Offer:
    """One size that a job may have: how many nodes of each class, such as these, and what that is worth."""

    counts: tuple[int, ...]
    nodes: tuple[str, ...]
    value: float

    @property
    def size(self) -> int:
        """How many nodes these are."""
        return len(self.nodes)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What sizes jobs are to have.

    Attributes
    ----------
    policy
        Whose they are.
    chosen
        By key; jobs that are not in it keep what they have.
    reasons
        Of every job, for a person to read.
    """

    policy: str
    view: View
    seating: Seating
    pool: Pool
    chosen: Mapping[str, Offer] = field(default_factory=dict)
    reasons: Mapping[str, str]

    def decisions(self) -> tuple[Decision, ...]:
        """Return what is to be done now to come to these sizes."""
        leaving = {
            key: self.view.job_of[key].removable[: self.view.job_of[key].size - offer.size]
            for key, offer in self.chosen.items()
            if offer.size < self.view.job_of[key].size
        }
        growing = _grown(self, {node for nodes in leaving.values() for node in nodes})
        return (
            *self.seating.decisions(),
            *(Decision(key=key, leave=nodes, why=self.reasons[key]) for key, nodes in leaving.items()),
            *(Decision(key=key, add=nodes, why=self.reasons[key]) for key, nodes in growing.items()),
        )


@dataclass(frozen=True)
class Pool:
    """The nodes that jobs share, by class: nodes of one class draw and cost the same and suit the same jobs.

    Attributes
    ----------
    spare
        Those that no job keeps whose size may change: free, or on their way out of a job, and nobody waits for them.
    jobs
        Those whose size may change.
    """

    view: View
    spare: tuple[str, ...]
    jobs: tuple[ElasticJob, ...]

    @cached_property
    def class_of(self) -> Mapping[str, int]:
        """The number of each node's class."""
        suitable = list(dict.fromkeys(job.suitable for job in self.jobs))
        numbers: dict[object, int] = {}
        power, price = self.view.power.watts, self.view.rules.node_hour
        found = {}
        for node in dict.fromkeys((*(node for job in self.jobs for node in job.keeps), *self.spare)):
            kind = (power.get(node), price.get(node), tuple(node in some for some in suitable))
            found[node] = numbers.setdefault(kind, len(numbers))
        return found

    @cached_property
    def classes(self) -> int:
        """How many classes there are."""
        return max(self.class_of.values(), default=-1) + 1

    @cached_property
    def capacity(self) -> tuple[int, ...]:
        """How many nodes there are of each class."""
        return self.counts(self.class_of)

    @cached_property
    def givable(self) -> Mapping[int, Sequence[str]]:
        """The nodes of each class that some job could be given: the spare ones, and those that jobs could leave."""
        found: dict[int, list[str]] = {}
        for node in (*self.spare, *(node for job in self.jobs for node in job.removable)):
            if self.view.power.may_be_given(node):
                found.setdefault(self.class_of[node], []).append(node)
        return found

    def counts(self, nodes: Sequence[str] | Mapping[str, int]) -> tuple[int, ...]:
        """Return how many of these nodes are of each class."""
        counted = Counter(self.class_of[node] for node in nodes)
        return tuple(counted[number] for number in range(self.classes))

    def node_sets(self, job: ElasticJob) -> list[tuple[str, ...]]:
        """Return what nodes a job could have, a few sets for each size: with more of one class, or with the thriftiest."""
        keeps, sets = job.keeps, []
        own, most = frozenset(keeps), max(0, job.maximum_nodes - len(keeps))
        others = {
            number: list(islice((node for node in nodes if node not in own), most))
            for number, nodes in self.givable.items()
            if nodes[0] in job.suitable
        }
        power = self.view.power.watts
        mixed = sorted(
            (node for nodes in others.values() for node in nodes),
            key=lambda node: power[node].dynamic_w if node in power else 0.0,
        )
        for size in _sizes(job, len(mixed)):
            if size <= job.size:
                left = job.removable[: job.size - size]
                sets.append(tuple(node for node in keeps if node not in left))
                continue
            more = size - job.size
            several = [nodes[:more] for nodes in others.values() if len(nodes) >= more] + [mixed[:more]]
            sets += {self.counts(nodes): (*keeps, *nodes) for nodes in several}.values()
        return sets


def plan(view: View, objective: Objective) -> Plan:
    """Choose a size for each job whose size may change."""
    seating = seat_waiting(view)
    fixed = {job.key: why for job in view.jobs if (why := _why_fixed(job, seating, view, objective)) is not None}
    jobs = tuple(job for job in view.jobs if job.key not in fixed)
    if not jobs:
        return Plan(policy=objective.name, view=view, seating=seating, pool=Pool(view, (), ()), reasons=fixed)
    coming = [node for job in view.jobs for node in (*job.leaving, *job.departing) if node not in seating.reserved]
    held = {node for job in view.jobs for node in job.keeps}
    spare = tuple(node for node in dict.fromkeys((*seating.free, *coming)) if node not in held)
    pool = Pool(view, spare, jobs)
    offers = {job.key: _offers(job, pool, objective) for job in jobs}
    solution = optimise(
        Instance(
            jobs=[
                [Choice(offer.counts, offer.value, view.power.dynamic_w(offer.nodes)) for offer in offers[job.key]]
                for job in jobs
            ],
            nodes=pool.capacity,
            power_w=None if view.power.cap_w is None else max(0.0, _budget_w(view, seating, fixed)),
        ),
        limit_s=view.rules.exact_s,
    )
    if isinstance(solution, Infeasible):
        reasons = fixed | {job.key: f"no sizes keep to the limits: {solution.why}" for job in jobs}
        return Plan(policy=objective.name, view=view, seating=seating, pool=pool, reasons=reasons)
    chosen = {job.key: offers[job.key][number] for job, number in zip(jobs, solution.chosen, strict=True)}
    how = "" if solution.gap == 0 else f", within {100 * solution.gap:.1f} % of the best"
    reasons = fixed | {job.key: _why(job, chosen[job.key], objective, how) for job in jobs}
    return Plan(policy=objective.name, view=view, seating=seating, pool=pool, chosen=chosen, reasons=reasons)


def worth(job: ElasticJob, nodes: Sequence[str], view: View, objective: Objective) -> float | Refusal:
    """Return what it is worth for a job to have these nodes, with what it costs to get there.

    A change pays until the horizon or the end of the job's time limit, whichever comes first: first the job starts newcomers
    and goes on as before, then it stands still, then it has its new value.
    """
    if isinstance(job.forecast, Refusal):
        return job.forecast
    here = objective.value(job, job.forecast, job.keeps, view)
    there = objective.value(job, job.forecast, nodes, view)
    if isinstance(here, Refusal) or isinstance(there, Refusal):
        return there if isinstance(there, Refusal) else here
    if len(nodes) == job.size:
        return here
    horizon_s = view.rules.horizon_s
    if job.ends_at is not None:
        horizon_s = max(1e-3, min(horizon_s, job.ends_at - view.now))
    start_s = min(job.move.start_s if len(nodes) > job.size else 0.0, horizon_s)
    stall_s = min(job.move.stall_s, horizon_s - start_s)
    total = here * start_s + objective.standing(here) * stall_s + there * (horizon_s - start_s - stall_s)
    return total / horizon_s - MARGIN * abs(here)


def _why_fixed(job: ElasticJob, seating: Seating, view: View, objective: Objective) -> str | None:
    """Say why a job's size is not chosen now; None where it is."""
    if job.key in seating.leaving:
        return "it gives nodes back for a job that waits"
    if not job.may_shrink:
        return "it takes no order now"
    if not job.keeps:
        return "it has no node"
    value = worth(job, job.keeps, view, objective)
    return f"{value}: it keeps its size" if isinstance(value, Refusal) else None


def _offers(job: ElasticJob, pool: Pool, objective: Objective) -> list[Offer]:
    offers = []
    for nodes in pool.node_sets(job):
        value = worth(job, nodes, pool.view, objective)
        if not isinstance(value, Refusal):
            offers.append(Offer(pool.counts(nodes), nodes, value))
    return offers


def _sizes(job: ElasticJob, givable: int) -> list[int]:
    """Return the sizes a job can come to: all in its range, or a selection that becomes wider with the distance."""
    lowest = max(job.minimum_nodes, job.size - len(job.removable))
    most = job.size + (min(givable, givable if job.extra_allowed is None else job.extra_allowed) if job.may_grow else 0)
    highest = min(job.maximum_nodes, most)
    sizes = set(range(lowest, highest + 1))
    if len(sizes) > MOST_SIZES:
        steps = {round(1.3**power) for power in range(60)}
        near = {job.size, *(job.size + step for step in steps), *(job.size - step for step in steps)}
        sizes = (sizes & near) | {lowest, highest}
    return sorted(sizes | ({job.size} if job.size <= job.maximum_nodes or not sizes else set()))


def _budget_w(view: View, seating: Seating, fixed: Mapping[str, str]) -> float:
    """Return what the cap leaves for the jobs whose size is chosen, with jobs that wait having started."""
    keeps = {node for job in view.jobs if job.key in fixed for node in job.keeps}
    return view.power.left_w(keeps | seating.reserved)


def _why(job: ElasticJob, offer: Offer, objective: Objective, how: str) -> str:
    assert isinstance(job.forecast, Forecast)
    forecast_s = job.forecast.iteration_s(offer.size)
    nodes = f"{offer.size} node{'' if offer.size == 1 else 's'}"
    return f"{nodes}, {forecast_s} s an iteration, is its part of the best {objective.name} of all jobs together{how}"


def _grown(made: Plan, shrunk: set[str]) -> dict[str, tuple[str, ...]]:
    """Give settled free nodes to the jobs that are to grow; one whose other nodes are about to come waits for all of them."""
    view, class_of = made.view, made.pool.class_of
    usable = [node for node in made.seating.free if view.power.may_be_given(node)]
    settled = [node for node in usable if node in view.settled]
    soon = {node for node in usable if node not in view.settled} | shrunk
    soon |= {node for job in view.jobs for node in job.leaving if node not in made.seating.reserved}
    given: dict[str, tuple[str, ...]] = {}
    for key, offer in made.chosen.items():
        job = view.job_of[key]
        more = [number - had for number, had in zip(offer.counts, made.pool.counts(job.keeps), strict=True)]
        if offer.size <= job.size:
            continue
        nodes: list[str] = []
        for number, count in enumerate(more):
            nodes += [node for node in settled if class_of[node] == number][: max(0, count)]
        short = len(nodes) < offer.size - job.size
        if nodes and not (short and any(more[class_of[node]] > 0 for node in soon if node in class_of)):
            given[key] = tuple(nodes)
            settled = [node for node in settled if node not in nodes]
    return given
