"""What a job could be instead of what it is: the layouts it could change to, and what models expect of each.

Pure: plain data in, plain data out. Which one is best is the policy's question (``objectives``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from flexmpi.configuration import ANY_NODE
from flexmpi.models.estimate import Estimate, Refusal
from flexmpi.models.job import IterationTime, JobModel
from flexmpi.models.layout import Layout
from flexmpi.models.reconfiguration import Resize, ResizeCost
from flexmpi.runtime.balance import weights_after
from flexmpi.runtime.distribution import Distribution, expand_old, moved_rows
from flexmpi.runtime.node_classes import JobClass, changes_to, class_names
from flexmpi.runtime.places import interleaved, members_places, newcomers_places
from flexmpi.runtime.roster import leavers

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
    row_bytes
        For each number of rows, the bytes of one row of all dense arrays with so many.
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
    row_bytes: Mapping[int, int]
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
    def class_of(self) -> dict[str, str]:
        """The class of each node."""
        on_demand = {ANY_NODE: self.classes[0].name} if self.on_demand else {}
        return class_names(self.classes) | on_demand

    def speed_of(self, node: str) -> float:
        """Return the weight of a new rank on a node; of a node that is not known yet, that of the others of its class."""
        return self.speeds[self.classes[0].nodes[0].name if node == ANY_NODE else node]


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
    cost
        What the change takes.
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


def alternatives(situation: Situation, combinations: Iterable[Sequence[int]]) -> list[Alternative] | Refusal:
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
        The present one first, the others without any that comes twice; a refusal where the models do not answer yet.
    """
    present = _alternative(situation, {}, None)
    if isinstance(present, Refusal):
        return present
    found: dict[tuple[tuple[str, int], ...], Alternative] = {(): present}
    for ranks in combinations:
        changes = changes_to(situation.classes, situation.occupied, ranks, on_demand=situation.on_demand)
        key = tuple(sorted(changes.items()))
        if key not in found:
            other = _alternative(situation, changes, present)
            if isinstance(other, Refusal):
                return other
            found[key] = other
    return list(found.values())


def _alternative(
    situation: Situation, changes: Mapping[str, int], present: Alternative | None
) -> Alternative | Refusal:
    model = situation.model
    leaving, newcomers = _who_changes(situation, changes)
    of_newcomers = [situation.speed_of(node) for node in newcomers]
    places = newcomers_places(situation.weights, leaving=leaving, newcomers=of_newcomers)
    weights = weights_after(situation.weights, leaving=leaving, newcomers=of_newcomers, places=places)
    nodes = interleaved(situation.members, newcomers, places)
    members = members_places(len(nodes), places)
    staying = sorted({*range(len(nodes))} - {members[number] for number in leaving})
    layout = Layout.of_ranks(
        [nodes[rank] for rank in staying],
        [situation.class_of[nodes[rank]] for rank in staying],
        [weights[rank] for rank in staying],
    )
    iteration = model.iteration(layout)
    if isinstance(iteration, Refusal):
        return iteration
    resize = Resize(
        started=max((change for change in changes.values() if change > 0), default=0),
        joining=len(newcomers),
        leaving=len(leaving),
        size_bytes=moved_bytes(situation.weights, weights, places, situation.row_bytes) if changes else 0,
    )
    cost = model.reconfiguration.predict(resize)
    finish_s = iteration.total_s.scaled(situation.remaining)
    if present is not None:
        before = min(situation.remaining, cost.start_s.value / max(present.iteration_s, 1e-12))
        finish_s = cost.start_s + cost.stall_s + iteration.total_s.scaled(situation.remaining - before)
    return Alternative(changes, layout, iteration, cost, finish_s, model.price.rate(layout), model.power_w(layout))


def _who_changes(situation: Situation, changes: Mapping[str, int]) -> tuple[set[int], list[str]]:
    """Return the numbers of the ranks that leave, and the newcomers' nodes."""
    removals = {node: -change for node, change in changes.items() if change < 0}
    newcomers = [node for node, change in changes.items() for _ in range(change)]
    return set(leavers(situation.members, situation.started, removals)), newcomers


def moved_bytes(old: Sequence[float], new: Sequence[float], places: Sequence[int], row_bytes: Mapping[int, int]) -> int:
    """Return the bytes that change ranks when weights do, by the distributions that the ranks will compute, too.

    Parameters
    ----------
    old
        The weights of the present ranks.
    new
        Those of the transition: 0 for leavers, newcomers at their places.
    places
        The newcomers' places in it.
    row_bytes
        As in `Situation`.
    """
    total = 0
    for rows, each in row_bytes.items():
        before = expand_old(Distribution.by_weight(rows, old), places)
        total += each * moved_rows(before, Distribution.by_weight(rows, new))
    return total


def row_bytes_of(objects: Iterable[str]) -> dict[int, int]:
    """Return, for each number of rows, the bytes of one row of all dense arrays with so many.

    What sparse matrices hold is not known here, so it is left out.

    Parameters
    ----------
    objects
        The application's declarations as JSON, as its ranks describe them.
    """
    sizes: dict[int, int] = {}
    for described in map(json.loads, objects):
        if described["kind"] == "array":
            rows, *rest = described["shape"]
            sizes[rows] = sizes.get(rows, 0) + _item_bytes(described["dtype"]) * int(np.prod(rest, dtype=np.int64))
    return sizes


def _item_bytes(dtype: str) -> int:
    try:
        return np.dtype(dtype).itemsize
    except TypeError:
        # A record's description is no name of a type.
        return 0
