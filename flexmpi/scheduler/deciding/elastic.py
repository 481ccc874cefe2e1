"""Elastic jobs and the nodes around them, as policies see them, and what policies decide. Plain frozen data.

How it comes about is `supply`'s (what may be used, who waits) and the `ledger`'s (who holds what, which orders are open).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from heapq import nlargest, nsmallest
from itertools import accumulate

from flexmpi.cluster.hostlists import fold_hosts
from flexmpi.models.estimate import Refusal
from flexmpi.models.forecast import Forecast
from flexmpi.scheduler.deciding.power import UNCAPPED, Power

NOT_HEARD = Refusal("nothing heard of its iterations")
ASSUMED_START_S = 3.0
ASSUMED_STALL_S = 1.0
"""What a change is taken to need before a job's own have been measured."""


@dataclass(frozen=True)
class MoveCost:
    """Seconds that a change of nodes takes, the mean of those a job has gone through.

    Attributes
    ----------
    start_s
        Until newcomers are ready, the application computing on.
    stall_s
        How long the application stands still.
    """

    start_s: float = ASSUMED_START_S
    stall_s: float = ASSUMED_STALL_S


@dataclass(frozen=True, kw_only=True)
class ElasticJob:
    """One elastic job, its companions included. Times are seconds of the agent's clock.

    Attributes
    ----------
    key
        What its supervisor calls it.
    job_id
        The resource manager's number; None where it runs under none.
    held
        The nodes it says it has, the one it cannot give back (its floor) first.
    arriving
        Nodes that the resource manager has for it and that it has not told of: on their way in.
    departing
        Nodes that it has left and that the resource manager has not freed yet: on their way out.
    joining, leaving
        Nodes that an open order gives it or takes from it.
    returning
        Those of `joining` that would be free again if that order were taken back; None where there is none that can be.
    suitable
        The nodes it could be given, by what they have and what its partition lets it have.
    may_grow, may_shrink
        Whether it takes an order now: none is open, and for growth its cool-down is over.
    extra_allowed
        How many more nodes the site's limits let it have; None without a limit.
    forecast
        How long its iterations take on how many nodes, or why that is not known.
    move
        What a change costs it.
    ends_at
        When its time limit ends it; None without a limit.
    iterations_left
        At most; None where it has not told.
    weight
        How much its speed counts against that of others.
    """

    key: str
    job_id: int | None = None
    name: str = ""
    uid: int = 0
    user: str = ""
    account: str | None = None
    partitions: tuple[str, ...] = ()
    held: tuple[str, ...]
    arriving: tuple[str, ...] = ()
    departing: tuple[str, ...] = ()
    joining: tuple[str, ...] = ()
    leaving: tuple[str, ...] = ()
    returning: tuple[str, ...] | None = None
    minimum_nodes: int
    maximum_nodes: int
    suitable: frozenset[str] = frozenset()
    may_grow: bool = True
    may_shrink: bool = True
    extra_allowed: int | None = None
    forecast: Forecast | Refusal = NOT_HEARD
    move: MoveCost = MoveCost()
    ends_at: float | None = None
    iterations_left: int | None = None
    weight: float = 1.0

    @property
    def keeps(self) -> tuple[str, ...]:
        """The nodes it has once its open order is carried out."""
        coming = dict.fromkeys((*self.held, *self.arriving, *self.joining))
        return tuple(node for node in coming if node not in self.leaving)

    @property
    def size(self) -> int:
        """How many nodes it has once its open order is carried out."""
        return len(self.keeps)

    @property
    def relative_size(self) -> float:
        """Where its size is in its range: 0 at the minimum, 1 at the maximum; 1 where the range is one size."""
        span = self.maximum_nodes - self.minimum_nodes
        return (self.size - self.minimum_nodes) / span if span > 0 else 1.0

    @property
    def removable(self) -> tuple[str, ...]:
        """The nodes it can be told to leave, those that came last first; never its floor."""
        return tuple(reversed([node for node in self.held[1:] if node not in self.leaving]))


@dataclass(frozen=True)
class Total:
    """What the nodes of a job must have together of something.

    Attributes
    ----------
    needed
        How much.
    of
        How much of it each node has.
    """

    needed: int
    of: Mapping[str, int]

    def fewest(self) -> int:
        """Return how many nodes have it at least, the largest ones; one more than there are where all do not."""
        sums = accumulate(sorted(self.of.values(), reverse=True))
        return 1 + sum(1 for total in sums if total < self.needed)

    def useful(self, most: int | None) -> frozenset[str]:
        """Return the nodes that have some, and with `most` nodes in all as much as is needed; None: with any number."""
        others = 0 if most is None else sum(nlargest(most - 1, self.of.values()))
        least = 1 if most is None else max(1, self.needed - others)
        return frozenset(node for node, amount in self.of.items() if amount >= least)

    def any_have_it(self, count: int) -> bool:
        """Whether any so many nodes have it."""
        return sum(nsmallest(count, self.of.values())) >= self.needed

    def have_it(self, nodes: Collection[str], *, most: int | None) -> bool:
        """Whether these nodes have it, or `most` of them."""
        return sum(nlargest(most or len(nodes), (self.of.get(node, 0) for node in nodes))) >= self.needed


@dataclass(frozen=True, kw_only=True)
class WaitingJob:
    """A job that waits for nodes and counts.

    Attributes
    ----------
    nodes
        How many it needs at least.
    maximum
        And takes at most; None without a bound.
    suitable
        Those it could run on, by partition, constraint, names and what they have.
    required
        Those of them that it must have: it has named them.
    totals
        What its nodes must have together, where not any `nodes` of `suitable` have it.
    is_settled
        Whether the manager has said that it waits for nodes; a job that came a moment ago may start by itself.
    """

    job_id: int
    nodes: int
    maximum: int | None = None
    suitable: frozenset[str]
    required: frozenset[str] = frozenset()
    totals: tuple[Total, ...] = ()
    is_settled: bool = True

    def can_start_on(self, nodes: Collection[str]) -> bool:
        """Whether it could start if these suitable nodes were free."""
        if len(nodes) < self.nodes or not self.required.issubset(nodes):
            return False
        return all(total.have_it(nodes, most=self.maximum) for total in self.totals)

    def best_first(self, nodes: Iterable[str]) -> list[str]:
        """Return those of some nodes that suit it: first what it must have, then what has most of its totals."""
        suitable = [node for node in nodes if node in self.suitable]
        if not self.required and not self.totals:
            return suitable
        return sorted(
            suitable, key=lambda node: (node not in self.required, *(-total.of[node] for total in self.totals))
        )


@dataclass(frozen=True)
class Rules:
    """What an administrator has set for choosing sizes.

    Attributes
    ----------
    horizon_s
        A change must repay itself within so long, or by the end of the job's time limit.
    slowdown
        How many times as long as on its fastest size an iteration may take to save money or energy.
    node_hour
        The price of a node for an hour, by node; 1 of those that are not in it.
    weights
        How much the speed of a job counts, by account; 1 of those that are not in it.
    exact_s
        How long an exact solver may look for better sizes, where those found without it are not proven to be the best.
    """

    horizon_s: float = 600.0
    slowdown: float = 1.5
    node_hour: Mapping[str, float] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    exact_s: float = 0.0

    def price_per_hour(self, nodes: Iterable[str]) -> float:
        """Return what nodes cost together for an hour."""
        return sum(self.node_hour.get(node, 1.0) for node in nodes)


@dataclass(frozen=True, kw_only=True)
class View:
    """What a policy decides by.

    Attributes
    ----------
    now
        Seconds of the agent's clock.
    jobs
        The elastic jobs, those that registered first first.
    free
        The nodes that are idle as a whole and promised to nobody.
    planned
        Idle nodes that the manager itself keeps for jobs that wait: not to be given out, nor to be given back once more.
    settled
        Those of `free` that have been so for long enough to be given out.
    waiting
        The jobs that wait, those that start first first.
    power
        What nodes draw, and what they may draw together.
    rules
        By which sizes are chosen from forecasts.
    """

    now: float
    jobs: tuple[ElasticJob, ...]
    free: tuple[str, ...] = ()
    planned: tuple[str, ...] = ()
    settled: frozenset[str] = frozenset()
    waiting: tuple[WaitingJob, ...] = ()
    power: Power = UNCAPPED
    rules: Rules = Rules()

    @cached_property
    def job_of(self) -> Mapping[str, ElasticJob]:
        """The elastic jobs by key."""
        return {job.key: job for job in self.jobs}


@dataclass(frozen=True, kw_only=True)
class Decision:
    """A job is to have more nodes, or fewer: one reconfiguration.

    Attributes
    ----------
    why
        For a person to read: ``2 idle nodes that nobody waits for``.
    """

    key: str
    add: tuple[str, ...] = ()
    leave: tuple[str, ...] = ()
    why: str = field(default="", compare=False)

    def summary(self) -> str:
        """Say what is to be done."""
        parts = [
            f"{verb} {len(nodes)} node{'s' if len(nodes) > 1 else ''} ({fold_hosts(nodes)})"
            for verb, nodes in (("add", self.add), ("leave", self.leave))
            if nodes
        ]
        return " and ".join(parts)
