"""Solves integer programs with GLPK, in a process of its own: requests as JSON on standard input, the answer on standard output.

This is the only place that imports swiglpk, which is GPL-3; no other module of FlexMPI is loaded here. The process ends itself
when its processor time is over, whatever the solver is doing, so that nothing stays behind if nobody waits any more.
"""

from __future__ import annotations

import json
import math
import resource
import sys
import time
from typing import Any

import swiglpk as glpk

SHARE_OF_LIMIT = 0.8
MOST_IN_A_CHAIN = 200
STATUSES = {
    glpk.GLP_OPT: "optimal",
    glpk.GLP_FEAS: "feasible",
    glpk.GLP_NOFEAS: "infeasible",
    glpk.GLP_UNDEF: "unknown",
}


def solve(program: dict[str, Any], *, limit_s: float) -> dict[str, Any]:
    """Solve one program; every return code and status is looked at."""
    problem = glpk.glp_create_prob()
    try:
        _build(problem, program)
        options = glpk.glp_iocp()
        glpk.glp_init_iocp(options)
        options.presolve, options.msg_lev = glpk.GLP_ON, glpk.GLP_MSG_OFF
        options.mip_gap, options.tm_lim = 0.0, max(1, int(1000 * limit_s))
        returned = glpk.glp_intopt(problem, options)
        if returned in (glpk.GLP_ENOPFS, glpk.GLP_ENODFS):
            # The presolver has proved that there is nothing to find; no unbounded program is made here.
            return {"status": "infeasible", "values": [], "remark": ""}
        status = STATUSES.get(glpk.glp_mip_status(problem), "unknown")
        if returned != 0 and status == "optimal":
            status = "feasible"
        known = status in ("optimal", "feasible")
        values = (
            [glpk.glp_mip_col_val(problem, column + 1) for column in range(len(program["columns"]))] if known else []
        )
        return {"status": status, "values": values, "remark": f"glp_intopt returned {returned}" if returned else ""}
    finally:
        glpk.glp_delete_prob(problem)


def solve_chain(program: dict[str, Any], *, step: float, end: float) -> list[dict[str, Any]]:
    """Solve a program again and again, its last row each time having to exceed what it came to before by a step."""
    row = program["rows"][-1]
    outcomes: list[dict[str, Any]] = []
    while len(outcomes) < MOST_IN_A_CHAIN:
        left_s = end - time.monotonic()
        if left_s <= 0:
            return [*outcomes, {"status": "unknown", "values": [], "remark": "the time was over"}]
        outcome = solve(program, limit_s=left_s)
        outcomes.append(outcome)
        if not outcome["values"]:
            break
        row["lower"] = step + sum(
            value * outcome["values"][column] for column, value in zip(row["columns"], row["values"], strict=True)
        )
    return outcomes


def _build(problem: Any, program: dict[str, Any]) -> None:
    columns, rows = program["columns"], program["rows"]
    glpk.glp_set_obj_dir(problem, glpk.GLP_MAX)
    glpk.glp_add_cols(problem, len(columns))
    for number, column in enumerate(columns, start=1):
        lower, upper = column["lower"], column["upper"]
        glpk.glp_set_col_bnds(problem, number, _bounds(lower, upper), lower, 0.0 if upper is None else upper)
        glpk.glp_set_col_kind(problem, number, glpk.GLP_IV if column["whole"] else glpk.GLP_CV)
        glpk.glp_set_obj_coef(problem, number, column["objective"])
    if rows:
        glpk.glp_add_rows(problem, len(rows))
    for number, row in enumerate(rows, start=1):
        lower, upper = row["lower"], row["upper"]
        glpk.glp_set_row_bnds(problem, number, _bounds(lower, upper), lower or 0.0, upper or 0.0)
        count = len(row["columns"])
        indices, values = glpk.intArray(count + 1), glpk.doubleArray(count + 1)
        for place, (column, value) in enumerate(zip(row["columns"], row["values"], strict=True), start=1):
            indices[place], values[place] = column + 1, value
        glpk.glp_set_mat_row(problem, number, count, indices, values)


def _bounds(lower: float | None, upper: float | None) -> int:
    if lower is None:
        return int(glpk.GLP_FR if upper is None else glpk.GLP_UP)
    if upper is None:
        return int(glpk.GLP_LO)
    return int(glpk.GLP_FX if lower == upper else glpk.GLP_DB)


def main() -> None:
    """Answer one request: programs, which are solved in their order until the time is over, each as a chain where wanted."""
    request = json.load(sys.stdin)
    limit_s = float(request["limit_s"])
    seconds = math.ceil(limit_s) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    end = time.monotonic() + SHARE_OF_LIMIT * limit_s
    step = request["step"]
    answers = []
    for program in request["programs"]:
        left_s = end - time.monotonic()
        if left_s <= 0:
            answers.append([{"status": "unknown", "values": [], "remark": "the time was over"}])
        elif step is None:
            answers.append([solve(program, limit_s=left_s)])
        else:
            answers.append(solve_chain(program, step=step, end=end))
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
