"""Sizes for many jobs at once: one of several sizes for each job, the most value in all, within nodes and watts.

``optimise(Instance(jobs, nodes=(100,), power_w=20_000.0), limit_s=0.5)`` answers with a `Solution` (sizes, value, a bound of
what can be had at all, and so the gap) or with `Infeasible`. Small instances are solved exactly; large ones by a bounded
greedy method on the prices of the linear relaxation, whose optimum is the bound.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flexmpi.optimiser import solver
from flexmpi.optimiser.classes import STEP, Combination, NodeClass, Search, combinations_of, programs_of
from flexmpi.optimiser.core import Core
from flexmpi.optimiser.exact import choices_of, program_of
from flexmpi.optimiser.greedy import choose
from flexmpi.optimiser.instance import TOLERANCE, Choice, Infeasible, Instance, Method, Solution, Table
from flexmpi.optimiser.program import Status
from flexmpi.optimiser.relaxation import Relaxation, relax

__all__ = [
    "Choice",
    "Combination",
    "Infeasible",
    "Instance",
    "NodeClass",
    "Search",
    "Solution",
    "combine",
    "optimise",
]

LARGEST_PROGRAM = 4000
"""Columns of an integer program that is worth trying."""


def optimise(instance: Instance, *, limit_s: float = 0.0, solve: solver.Solve = solver.solve) -> Solution | Infeasible:
    """Choose a size for each job.

    Parameters
    ----------
    instance
        The jobs, their sizes and the limits.
    limit_s
        How long an exact solver may try to better what was found without it, in seconds; it is not asked where the answer is
        proven to be the best anyway, nor for 0.
    solve
        The exact solver.
    """
    if not instance.jobs:
        watts = None if instance.power_w is None else 0.0
        return Solution(chosen=(), nodes=(0,) * len(instance.nodes), power_w=watts)
    table = instance.table.without_impossible()
    if (impossible := _impossible(instance, table)) is not None:
        return impossible
    relaxation = relax(table)
    found = choose(table, relaxation)
    chosen, proven = found.chosen, found.proven
    method: Method = "exact" if proven else "greedy"
    if not proven and limit_s > 0:
        chosen, proven, method = _exactly(table, relaxation, chosen, limit_s, solve)
    if chosen is None:
        return Infeasible(_conflict(instance), proven=proven)
    return _solution(instance, table, relaxation, chosen, method)


def combine(
    search: Search, *, limit_s: float, solve_chains: solver.SolveChains = solver.solve_chains
) -> tuple[list[Combination], str]:
    """Find the combinations of ranks on classes of nodes that are worth a thought, for one job.

    Parameters
    ----------
    search
        The classes, and the numbers of ranks to look at.
    limit_s
        How long the solver may take, in seconds.
    solve_chains
        The solver.

    Returns
    -------
    list of Combination
        Those of which no other with as many ranks is both cheaper and faster.
    str
        Why some may be missing; empty if they are all there.
    """
    return combinations_of(search, solve_chains(programs_of(search), STEP, limit_s))


def _exactly(
    table: Table, relaxation: Relaxation, known: NDArray[np.int64] | None, limit_s: float, solve: solver.Solve
) -> tuple[NDArray[np.int64] | None, bool, Method]:
    """Have a solver better the known solution; return the better of both, whether it is the best, and how it was found."""
    core = Core.of(table, relaxation, known)
    if core.possible.sum() > LARGEST_PROGRAM:
        return known, False, "greedy"
    outcome = solve([program_of(table, core)], limit_s)[0]
    if outcome.status is Status.INFEASIBLE and known is None:
        return None, True, "exact"
    chosen = choices_of(outcome, table, core)
    if chosen is None:
        return known, False, "greedy"
    better = known is None or table.worth(chosen) >= table.worth(known)
    if outcome.status is Status.OPTIMAL:
        return chosen if better else known, True, "exact"
    return (chosen, False, "exact, stopped") if better else (known, False, "greedy")


def _impossible(instance: Instance, table: Table) -> Infeasible | None:
    """Say why there can be no solution, if one of two simple reasons holds."""
    without = np.flatnonzero(~table.offered.any(axis=1))
    if len(without):
        return Infeasible(f"no size of job {without[0]} keeps to the limits by itself", proven=True)
    least = np.where(table.offered, table.usage, np.inf).min(axis=2).sum(axis=1)
    for name, needed, there in zip(instance.limit_names(), least, table.capacity, strict=True):
        if needed > there * (1 + TOLERANCE):
            return Infeasible(
                f"the smallest sizes need {needed:g} {name} together, and there are {there:g}", proven=True
            )
    return None


def _conflict(instance: Instance) -> str:
    return f"no sizes were found that keep to the limits of {' and '.join(instance.limit_names())} at once"


def _solution(
    instance: Instance, table: Table, relaxation: Relaxation, chosen: NDArray[np.int64], method: Method
) -> Solution:
    value, used = table.worth(chosen), table.used(chosen)
    nodes = tuple(round(count) for count in used[: len(instance.nodes)].tolist())
    proven = method == "exact"
    return Solution(
        chosen=tuple(chosen.tolist()),
        value=value,
        bound=value if proven else max(value, relaxation.bound),
        bound_is="optimum" if proven else "linear relaxation",
        relaxed=max(value, relaxation.bound),
        method=method,
        nodes=nodes,
        power_w=None if instance.power_w is None else float(used[-1]),
    )
