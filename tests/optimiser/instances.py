"""Random instances, as jobs with ranges, speedups and watts make them, and the best answer by trying everything."""

from __future__ import annotations

from itertools import product
from typing import Literal

import numpy as np

from flexmpi.optimiser import Choice, Instance

Shape = Literal["concave", "rising", "any"]


def random_job(random: np.random.Generator, sizes: int, shape: Shape) -> tuple[Choice, ...]:
    """Return the sizes of one job: in the shape ``concave`` each further node gains less than the one before it."""
    nodes = np.sort(random.choice(np.arange(1, 17), sizes, replace=False))
    steps = np.diff(nodes, prepend=0)
    if shape == "concave":
        values = np.cumsum(np.sort(random.uniform(0, 1, sizes))[::-1] * steps)
    else:
        values = random.uniform(0, 10, sizes)
        values = np.sort(values) if shape == "rising" else values
    watts = nodes * random.uniform(50, 200, 1 if shape == "concave" else sizes)
    return tuple(Choice((int(n),), float(v), float(w)) for n, v, w in zip(nodes, values, watts, strict=True))


def random_instance(seed: int, *, jobs: int, sizes: int, shape: Shape, power_cap: bool = True) -> Instance:
    """Return an instance whose limits lie somewhere between the smallest and the largest sizes."""
    random = np.random.default_rng(seed)
    offered = [random_job(random, sizes, shape) for _ in range(jobs)]
    nodes = [[choice.nodes[0] for choice in choices] for choices in offered]
    watts = [[choice.power_w for choice in choices] for choices in offered]
    least, most = sum(map(min, nodes)), sum(map(max, nodes))
    least_w, most_w = sum(map(min, watts)), sum(map(max, watts))
    cap_w = least_w + random.uniform(0.05, 1) * (most_w - least_w)
    return Instance(offered, (int(least + random.uniform(0.05, 1) * (most - least)),), cap_w if power_cap else None)


def best_value(instance: Instance) -> float | None:
    """Return the largest value within the limits, by trying every combination; None if there is none."""
    jobs = range(len(instance.jobs))
    combinations = np.array(list(product(*(range(len(choices)) for choices in instance.jobs))))
    table = instance.table
    values = table.values[jobs, combinations].sum(axis=1)
    used = table.usage[:, jobs, combinations].sum(axis=2)
    fits = (used <= table.capacity[:, None] * (1 + 1e-12)).all(axis=0)
    return float(values[fits].max()) if fits.any() else None
