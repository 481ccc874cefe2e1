"""Has integer programs solved by GLPK in a child process that is ended when its time is over: solvers overrun their own limits.

The edge of this package: all else in it is pure.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from flexmpi.optimiser.program import Outcome, Program, Status

CHILD = Path(__file__).with_name("glpk_child.py")
START_S = 1.0
"""What starting the child may take beside its limit."""

Solve = Callable[[Sequence[Program], float], list[Outcome]]
"""Solves programs, one answer for each, within about so many seconds."""

SolveChains = Callable[[Sequence[Program], float, float], list[list[Outcome]]]
"""The same for chains, with the step before the seconds."""


def solve(programs: Sequence[Program], limit_s: float) -> list[Outcome]:
    """Solve programs in their order.

    Parameters
    ----------
    programs
        What to solve.
    limit_s
        How long all of it may take; the child is killed `START_S` later whatever it does.

    Returns
    -------
    list of Outcome
        One for each program; `Status.UNKNOWN` with a remark where there is no answer. Nothing is raised.
    """
    return [outcomes[0] for outcomes in _ask(programs, None, limit_s)]


def solve_chains(programs: Sequence[Program], step: float, limit_s: float) -> list[list[Outcome]]:
    """Solve each program again and again, its last row having to exceed what it came to the time before by a step.

    Parameters
    ----------
    programs, limit_s
        As for `solve`.
    step
        In the units of the last row.

    Returns
    -------
    list of list of Outcome
        For each program its outcomes, of which the last is infeasible or, with a remark, unknown.
    """
    return _ask(programs, step, limit_s)


def _ask(programs: Sequence[Program], step: float | None, limit_s: float) -> list[list[Outcome]]:
    request = json.dumps({"programs": [program.as_json() for program in programs], "step": step, "limit_s": limit_s})
    try:
        finished = subprocess.run(
            [sys.executable, str(CHILD)],
            check=False,
            input=request,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit_s + START_S,
        )
    except subprocess.TimeoutExpired:
        return _nothing(programs, f"the solver did not end within {limit_s:g} s")
    except OSError as error:
        return _nothing(programs, f"the solver could not be started: {error}")
    if finished.returncode != 0:
        return _nothing(programs, _failure(finished))
    try:
        return [
            [Outcome(Status(each["status"]), tuple(each["values"]), each["remark"]) for each in outcomes]
            for outcomes in json.loads(finished.stdout)
        ]
    except (ValueError, KeyError, TypeError):
        return _nothing(programs, f"the solver answered {finished.stdout[:80]!r}")


def _nothing(programs: Sequence[Program], remark: str) -> list[list[Outcome]]:
    return [[Outcome(Status.UNKNOWN, remark=remark)] for _ in programs]


def _failure(finished: subprocess.CompletedProcess[str]) -> str:
    last = (finished.stderr.strip().splitlines() or ["without a word"])[-1]
    if "No module named 'swiglpk'" in last:
        return "swiglpk is not installed: pip install swiglpk"
    return f"the solver ended with status {finished.returncode}: {last}"
