"""The exact solution as an integer program: one column for each choice that may still be in a better solution.

Pure: the program is built and its answer read here; it is solved in `solver`.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from flexmpi.optimiser.core import Core
from flexmpi.optimiser.instance import TOLERANCE, Table
from flexmpi.optimiser.program import Column, Outcome, Program, Row, Status


def program_of(table: Table, core: Core) -> Program:
    """Return the integer program over the possible choices: each job has one of them, within what is limited.

    Values are what a choice adds to the smallest value of its job.
    """
    jobs, sizes = np.nonzero(core.possible)
    least = np.where(core.possible, table.values, np.inf).min(axis=1)
    gains = table.values[jobs, sizes] - least[jobs]
    numbers = tuple(range(len(jobs)))
    starts = np.searchsorted(jobs, np.arange(len(table.values) + 1))
    one_each = [
        Row(numbers[first:last], (1.0,) * (last - first), 1.0, 1.0) for first, last in pairwise(starts.tolist())
    ]
    limits = [
        Row(numbers, tuple(usage[jobs, sizes].tolist()), upper=float(capacity * (1 + TOLERANCE)))
        for usage, capacity in zip(table.usage, table.capacity, strict=True)
    ]
    return Program(tuple(Column(gain, upper=1.0) for gain in gains.tolist()), (*one_each, *limits))


def choices_of(outcome: Outcome, table: Table, core: Core) -> NDArray[np.int64] | None:
    """Return the choice of each job that a solver's answer means, shape ``(jobs,)``; None if it is not one within the limits."""
    if outcome.status not in (Status.OPTIMAL, Status.FEASIBLE):
        return None
    jobs, sizes = np.nonzero(core.possible)
    taken = np.asarray(outcome.values) > 0.5
    if not np.array_equal(jobs[taken], np.arange(len(table.values))):
        return None
    chosen: NDArray[np.int64] = sizes[taken]
    return chosen if table.fits(chosen) else None
