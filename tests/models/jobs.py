"""Intervals of jobs whose true costs are known, for tests of the models that are to find them out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from flexmpi.models.job import JobModel
from flexmpi.models.layout import Layout
from flexmpi.models.observation import Observation


def equal_ranks(nodes: int, each: int = 1, node_class: str = "node", weight: float = 1.0) -> Layout:
    """Return so many nodes with equally many ranks."""
    names = [f"{node_class}{node}" for node in range(nodes) for _ in range(each)]
    return Layout.of_ranks(names, [node_class] * len(names), [weight] * len(names))


def interval(
    nodes: Sequence[str],
    *,
    rows: int = 1000,
    serial_s: float = 0.0,
    parallel_s: float = 1.0,
    speeds: Mapping[str, float] | None = None,
    weights: Sequence[float] | None = None,
    communication_s: float = 0.0,
    operations: Mapping[str, Sequence[float]] | None = None,
    noise: float = 0.0,
    iterations: int = 10,
    random: np.random.Generator | None = None,
) -> Observation:
    """Return what ranks on these nodes measure, whose times for an iteration are given.

    A rank computes ``serial_s`` and, at speed 1 with all rows, ``parallel_s``; a node's class is its name without digits.
    ``operations`` are calls, bytes and seconds of an iteration.
    """
    classes = [node.rstrip("0123456789") for node in nodes]
    shared_by = np.ones(len(nodes)) if weights is None else np.asarray(weights)
    load = np.floor(rows * shared_by / shared_by.sum() + 1e-9)
    load[: rows - int(load.sum())] += 1
    true_speeds = np.array([(speeds or {}).get(each, 1.0) for each in classes])
    busy = serial_s + parallel_s * load / max(rows, 1) / true_speeds
    if random is not None:
        busy = busy * random.normal(1.0, noise, len(busy))
    known = operations or {}
    communicating = communication_s + sum(seconds for _, _, seconds in known.values())
    real = np.full(len(nodes), busy.max() + communicating)
    return Observation.of_interval(
        nodes=nodes,
        classes=classes,
        weights=shared_by.tolist(),
        load=load,
        iterations=iterations,
        real_s=real * iterations,
        processor_s=real * iterations,
        communication_s=(real - busy) * iterations,
        io_s=np.zeros(len(nodes)),
        operations={
            name: np.tile([calls, size_bytes, seconds * iterations], (len(nodes), 1))
            for name, (calls, size_bytes, seconds) in known.items()
        },
    )


def on_nodes(count: int, each: int = 1, node_class: str = "node") -> list[str]:
    """Name the node of each rank."""
    return [f"{node_class}{node}" for node in range(count) for _ in range(each)]


def model_of(*intervals: Observation, repeated: int = 5) -> JobModel:
    """Return the model of a job that has seen each of these intervals several times in a row."""
    model = JobModel()
    for each in intervals:
        for _ in range(repeated):
            model = model.after(each)
    return model
