"""GLPK in its process: what it answers, and that nobody waits for it in vain."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy.optimize import Bounds, LinearConstraint, milp

from flexmpi.optimiser import solver
from flexmpi.optimiser.program import Column, Program, Row, Status


def knapsack(values, weights, limit, *, upper=1.0):
    columns = tuple(Column(float(value), upper=upper) for value in values)
    return Program(columns, (Row(tuple(range(len(columns))), tuple(map(float, weights)), upper=limit),))


def test_programs_are_solved_in_their_order_and_each_status_is_told():
    possible = knapsack([10, 13, 7], [3, 4, 2], 6.0)
    impossible = Program((Column(1.0, upper=1.0),), (Row((0,), (1.0,), lower=2.0),))
    continuous = Program((Column(1.0, upper=2.5, whole=False),), ())
    first, second, third = solver.solve([possible, impossible, continuous], 10.0)
    assert (first.status, first.values) == (Status.OPTIMAL, (0.0, 1.0, 1.0))
    assert (second.status, second.values) == (Status.INFEASIBLE, ())
    assert (third.status, third.values) == (Status.OPTIMAL, (2.5,))


@pytest.mark.parametrize("seed", range(5))
def test_random_programs_have_the_value_that_another_solver_finds(seed):
    random = np.random.default_rng(seed)
    values, weights = random.integers(1, 50, 12), random.integers(1, 30, (2, 12))
    rows = tuple(Row(tuple(range(12)), tuple(map(float, row)), upper=100.0, lower=5.0) for row in weights)
    (outcome,) = solver.solve([Program(tuple(Column(float(v), upper=3.0) for v in values), rows)], 10.0)
    other = milp(-values, constraints=LinearConstraint(weights, 5, 100), bounds=Bounds(0, 3), integrality=np.ones(12))
    assert outcome.status is Status.OPTIMAL
    assert values @ np.array(outcome.values) == pytest.approx(-other.fun)


def test_a_program_that_takes_too_long_is_given_up_and_nothing_is_claimed_of_it():
    # Twice some whole numbers never make an odd one; branch and bound has to go through them all (Jeroslow 1974).
    parity = Row(tuple(range(61)), (2.0,) * 61, lower=61.0, upper=61.0)
    (outcome,) = solver.solve([Program((Column(1.0, upper=1.0),) * 61, (parity,))], 0.5)
    assert outcome.status is Status.UNKNOWN
    assert outcome.remark


def test_a_child_that_does_not_end_is_killed(monkeypatch, tmp_path):
    child = tmp_path / "child.py"
    child.write_text("import signal\nsignal.pause()\n")
    monkeypatch.setattr(solver, "CHILD", child)
    monkeypatch.setattr(solver, "START_S", 0.1)
    (outcome,) = solver.solve([knapsack([1], [1], 1.0)], 0.2)
    assert outcome.status is Status.UNKNOWN
    assert outcome.remark == "the solver did not end within 0.2 s"


@pytest.mark.parametrize(
    ("program", "remark"),
    [
        ("raise SystemExit('broken')", "the solver ended with status 1: broken"),
        ("import sys; sys.exit(3)", "the solver ended with status 3: without a word"),
        ("print('hello')", "the solver answered 'hello\\n'"),
        ('print(\'[{"status": "odd", "values": [], "remark": ""}]\')', "the solver answered"),
        (
            "raise ModuleNotFoundError(\"No module named 'swiglpk'\")",
            "swiglpk is not installed: pip install swiglpk",
        ),
    ],
)
def test_a_child_that_fails_is_no_answer(monkeypatch, tmp_path, program, remark):
    child = tmp_path / "child.py"
    child.write_text(program)
    monkeypatch.setattr(solver, "CHILD", child)
    (outcome,) = solver.solve([knapsack([1], [1], 1.0)], 10.0)
    assert outcome.status is Status.UNKNOWN
    assert outcome.remark.startswith(remark)


def test_the_optimiser_itself_does_not_load_swiglpk():
    program = "import sys, flexmpi.optimiser; sys.exit('swiglpk' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
