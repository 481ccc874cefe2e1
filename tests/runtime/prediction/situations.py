"""Jobs at the end of an interval whose true speeds are known, for tests of what policies make of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from flexmpi.cluster.platform import Node
from flexmpi.models.job import JobModel
from flexmpi.models.power import Power, Watts
from flexmpi.models.price import Price
from flexmpi.models.reconfiguration import MeasuredResize, ReconfigurationCost, Resize
from flexmpi.runtime.job.places import Transition
from flexmpi.runtime.prediction.alternatives import Situation
from flexmpi.runtime.prediction.node_classes import JobClass, classes_of
from tests.models.jobs import interval, model_of

NODES = (
    Node("fast1", 2, "fast", cost=10.0, speed=2.0),
    Node("fast2", 2, "fast", cost=10.0, speed=2.0),
    Node("slow1", 4, "slow", cost=2.0, speed=1.0),
    Node("slow2", 4, "slow", cost=2.0, speed=1.0),
)
SPEEDS = {"fast": 2.0, "slow": 1.0}
CLASSES = classes_of(NODES, on_demand=False, maximum_nodes=4)
QUICK = Resize(started=2, joining=2, leaving=0, size_bytes=1000)


class AlwaysKnown(dict[Transition, int]):
    """What changes move where ranks have been asked about all of them: each as much."""

    def __contains__(self, transition: object) -> bool:
        return True

    def __missing__(self, transition: Transition) -> int:
        return QUICK.size_bytes


def placed(*counts: tuple[str, int]) -> tuple[str, ...]:
    """Return the node of each rank."""
    return tuple(node for node, count in counts for _ in range(count))


def situation(
    *histories: tuple[tuple[str, int], ...],
    remaining: int = 1000,
    elapsed_s: float = 0.0,
    serial_s: float = 0.0,
    parallel_s: float = 1.0,
    communication_s: float = 0.0,
    rows: int = 10_000,
    watts: dict[str, Watts] | None = None,
    priced: bool = True,
    classes: tuple[JobClass, ...] = CLASSES,
    on_demand: bool = False,
    moved_bytes: Mapping[Transition, int] | None = None,
) -> Situation:
    """Return a job that has been placed so, one after the other, and is as in the last one now."""
    weight = {node.name: node.speed or 1.0 for node in NODES}
    members = placed(*histories[-1])
    seen = [
        interval(
            placed(*history),
            rows=rows,
            serial_s=serial_s,
            parallel_s=parallel_s,
            speeds=SPEEDS,
            weights=[weight[node] for node in placed(*history)],
            communication_s=communication_s,
        )
        for history in histories
    ]
    cost = ReconfigurationCost()
    for _ in range(2):
        cost = cost.after(MeasuredResize(replace(QUICK, leaving=1), 0.2, 0.01, 0.001, 0.001))
    prices = Price({"fast": 10.0, "slow": 2.0} if priced else {})
    model: JobModel = replace(model_of(*seen), reconfiguration=cost, price=prices, power=Power(declared=watts or {}))
    return Situation(
        model=model,
        classes=classes,
        on_demand=on_demand,
        members=members,
        weights=tuple(weight[node] for node in members),
        started=tuple(range(len(members))),
        speeds=weight,
        moved_bytes=AlwaysKnown() if moved_bytes is None else moved_bytes,
        remaining=remaining,
        elapsed_s=elapsed_s,
    )
