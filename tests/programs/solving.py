"""Solves Poisson's equation again and again by conjugate gradients, each time for another known answer, and checks each.

Ends with the system it is at when the file ``--until`` appears. See ``examples/conjugate_gradient.py`` for the method.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

import flexmpi

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
from sparse_matrix import multiply, poisson_rows

parser = argparse.ArgumentParser()
parser.add_argument("--until", type=Path, required=True)
parser.add_argument("--grid", type=int, default=24)
parser.add_argument("--pause", type=float, default=0.005, help="seconds of sleep in an iteration, for others to run")
options = parser.parse_args()

n = options.grid**2
TOLERANCE = 1e-9  # of the relative residual; the condition number at this grid is below 1e3


def answer(number: int, rows: range) -> NDArray[np.float64]:
    """Return some rows of the answer of the system with this number."""
    return np.cos(np.arange(rows.start, rows.stop) * (number % 10 + 1) / 7) + 2.0


with flexmpi.session() as flex:
    A = flex.csr("A", (n, n), constant=True)
    vectors = [flex.array(name, (n,)) for name in ("x", "r", "p")]
    state = flex.state(rho=1.0, step=0, number=0, worst=0.0, limit=0.0)
    if flex.starting:
        A.assign(*poisson_rows(options.grid, A.rows))
    for _ in flex.iterate(1_000_000_000):
        comm, counts, (x, r, p) = flex.comm, A.counts, (vector.local for vector in vectors)

        def times_matrix(block: NDArray[np.float64]) -> NDArray[np.float64]:
            whole = np.empty(n)
            comm.Allgatherv(block, [whole, counts])  # noqa: B023 - used in this iteration only
            return multiply(A, whole)

        if state.step % 50 == 0:
            right = times_matrix(answer(state.number, A.rows))
            r[:] = right - times_matrix(x)
            state.limit = comm.allreduce(right @ right) * TOLERANCE**2
        rho = comm.allreduce(r @ r)
        if rho <= state.limit:
            error = comm.allreduce(np.abs(x - answer(state.number, A.rows)).max(initial=0.0), MPI.MAX)
            assert error < 1e-5, (state, error)
            state.worst, state.number, state.step, state.rho = max(state.worst, error), state.number + 1, 0, 1.0
            x[:], p[:] = 0.0, 0.0
            if comm.bcast(options.until.exists()):
                break
            continue
        beta, state.rho = rho / state.rho, rho
        p[:] = r + beta * p
        Ap = times_matrix(p)
        alpha = rho / comm.allreduce(p @ Ap)
        x += alpha * p
        r -= alpha * Ap
        state.step += 1
        time.sleep(options.pause)
    if flex.rank == 0:
        print(f"{state.number} systems solved, largest error {state.worst:.1e}")
