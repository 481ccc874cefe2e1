"""What a job could be instead of what it is: the layouts it could change to, and what models expect of each.

Pure: plain data in, plain data out. Which one is best is the policy's question (``objectives``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from flexmpi.cluster.platform import is_to_come
from flexmpi.models.estimate import Estimate, Refusal
from flexmpi.models.job import IterationTime, JobModel
from flexmpi.models.layout import Layout
from flexmpi.models.reconfiguration import Resize, ResizeCost
from flexmpi.runtime.job.balance import weights_after
from flexmpi.runtime.job.places import Transition, interleaved, members_places, newcomers_places
from flexmpi.runtime.job.roster import leavers
from flexmpi.runtime.prediction.node_classes import JobClass, changes_to, class_names

TRUSTED_ERROR = 0.25
"""An alternative whose time is not known better than to this, relative, is out of reach until the job has come nearer to it."""


@dataclass(frozen=True, eq=False)
class Situation:
    """A job at the end of a sampling interval.

    Attributes
    ----------
    model
        What it has shown of itself.
    classes
        The nodes it may have.
    on_demand
        They come from a resource manager that chooses among them.
    members, weights
        The node of each rank, and the weight by which it has rows.
    started
        For each rank a number that is greater the later it was started.
    speeds
        The weight that a new rank has on each node.
    moved_bytes
        What changes of ranks would move, of those that the ranks have been asked about.
    remaining
        The iterations still to come, at most.
    elapsed_s
        Since the job's start.
    """

    model: JobModel
    classes: tuple[JobClass, ...]
    on_demand: bool
    members: tuple[str, ...]
    weights: tuple[float, ...]
    started: tuple[int, ...]
    speeds: Mapping[str, float]
    moved_bytes: Mapping[Transition, int]
    remaining: int
    elapsed_s: float

    @cached_property
    def occupied(self) -> dict[str, int]:
        """Ranks on each node that has any."""
        counts: dict[str, int] = {}
        for node in self.members:
            counts[node] = counts.get(node, 0) + 1
        return counts

    @cached_property
    def _class_names(self) -> dict[str, str]:
        return class_names(self.classes)

    def class_of(self, node: str) -> str:
        """Return the class of a node; of one to come the first."""
        return self.classes[0].name if is_to_come(node) and self.on_demand else self._class_names[node]

    def speed_of(self, node: str) -> float:
        """Return the weight of a new rank on a node; of a node that is not known yet, that of the others of its class."""
        return self.speeds[self.classes[0].nodes[0].name if is_to_come(node) else node]


@dataclass(frozen=True)
class Alternative:
    """A layout the job could have, and what to expect of it.

    Attributes
    ----------
    changes
        The change of ranks on each node that leads to it; empty for the present one.
    layout
        Where its ranks are.
    iteration
        What an iteration takes there.
    resize
        What the change does.
    cost
        What it takes.
    finish_s
        From now until the last iteration is done, the change included.
    rate
        Its price a second.
    power_w
        Watts of its nodes.
    """

    changes: Mapping[str, int]
    layout: Layout
    iteration: IterationTime
    resize: Resize
    cost: ResizeCost
    finish_s: Estimate
    rate: float | Refusal
    power_w: Estimate | Refusal

    @property
    def ranks(self) -> int:
        """All its ranks."""
        return self.layout.ranks

    @property
    def iteration_s(self) -> float:
        """Seconds of an iteration."""
        return self.iteration.total_s.value

    @property
    def change_s(self) -> float:
        """From the order until the application computes there; 0 for the present layout."""
        return (self.cost.start_s + self.cost.stall_s).value

    @property
    def price(self) -> float | Refusal:
        """What it costs to finish there."""
        return self.rate if isinstance(self.rate, Refusal) else self.rate * self.finish_s.value

    @property
    def energy_j(self) -> float | Refusal:
        """What its nodes burn to finish there."""
        return self.power_w if isinstance(self.power_w, Refusal) else self.power_w.value * self.finish_s.value

    @property
    def is_trusted(self) -> bool:
        """Whether the time of an iteration is known well enough to act on it."""
        return self.iteration.learnt_error <= TRUSTED_ERROR


@dataclass(frozen=True)
class Unknown:
    """Changes of which the ranks have not said yet how many bytes they would move."""

    transitions: tuple[Transition, ...]


def alternatives(situation: Situation, combinations: Iterable[Sequence[int]]) -> list[Alternative] | Unknown | Refusal:
    """Return the present layout, and those that combinations of ranks on the classes of nodes lead to.

    Parameters
    ----------
    situation
        The job as it is.
    combinations
        Ranks wanted of each class.

    Returns
    -------
    list of Alternative
        The present one first, the others without any that comes twice. What the ranks must be asked before that can be said;
        a refusal where the models do not answer yet.
    """
    return compared(
        situation,
        [
            changes_to(situation.classes, situation.occupied, ranks, on_demand=situation.on_demand)
            for ranks in combinations
        ],
    )


def compared(situation: Situation, possible: Iterable[Mapping[str, int]]) -> list[Alternative] | Unknown | Refusal:
    """Return the present layout, and those that changes of ranks on nodes lead to, as `alternatives` does."""
    ways: dict[tuple[tuple[str, int], ...], _Way] = {(): _way(situation, {})}
    for changes in possible:
        key = tuple(sorted(changes.items()))
        if key not in ways:
            ways[key] = _way(situation, changes)
    present, *others = ways.values()
    wanted = dict.fromkeys(way.transition for way in others)
    if unknown := [each for each in wanted if each not in situation.moved_bytes]:
        return Unknown(tuple(unknown))
    now = _alternative(situation, present, None)
    if isinstance(now, Refusal):
        return now
    found = [now]
    for way in others:
        other = _alternative(situation, way, now)
        if isinstance(other, Refusal):
            return other
        found.append(other)
    return found


@dataclass(frozen=True)
class _Way:
    """A change and what it makes of the ranks: the newcomers' nodes, who leaves, the transition, and where all are after it."""

    changes: Mapping[str, int]
    newcomers: Sequence[str]
    leaving: set[int]
    transition: Transition
    layout: Layout


def _way(situation: Situation, changes: Mapping[str, int]) -> _Way:
    leaving, newcomers = _who_changes(situation, changes)
    of_newcomers = [situation.speed_of(node) for node in newcomers]
    places = newcomers_places(situation.weights, leaving=leaving, newcomers=of_newcomers)
    weights = weights_after(situation.weights, leaving=leaving, newcomers=of_newcomers, places=places)
    nodes = interleaved(situation.members, newcomers, places)
    members = members_places(len(nodes), places)
    staying = sorted({*range(len(nodes))} - {members[number] for number in leaving})
    layout = Layout.of_ranks(
        [nodes[rank] for rank in staying],
        [situation.class_of(nodes[rank]) for rank in staying],
        [weights[rank] for rank in staying],
    )
    return _Way(changes, newcomers, leaving, Transition(weights, places), layout)


def _alternative(situation: Situation, way: _Way, present: Alternative | None) -> Alternative | Refusal:
    model, layout = situation.model, way.layout
    iteration = model.iteration(layout)
    if isinstance(iteration, Refusal):
        return iteration
    resize = Resize(
        started=max((change for change in way.changes.values() if change > 0), default=0),
        joining=len(way.newcomers),
        leaving=len(way.leaving),
        size_bytes=situation.moved_bytes[way.transition] if way.changes else 0,
    )
    cost = model.reconfiguration.predict(resize)
    finish_s = iteration.total_s.scaled(situation.remaining)
    if present is not None:
        before = min(situation.remaining, cost.start_s.value / max(present.iteration_s, 1e-12))
        finish_s = cost.start_s + cost.stall_s + iteration.total_s.scaled(situation.remaining - before)
    return Alternative(
        way.changes, layout, iteration, resize, cost, finish_s, model.price.rate(layout), model.power_w(layout)
    )


def _who_changes(situation: Situation, changes: Mapping[str, int]) -> tuple[set[int], list[str]]:
    """Return the numbers of the ranks that leave, and the newcomers' nodes."""
    removals = {node: -change for node, change in changes.items() if change < 0}
    newcomers = [node for node, change in changes.items() for _ in range(change)]
    return set(leavers(situation.members, situation.started, removals)), newcomers
