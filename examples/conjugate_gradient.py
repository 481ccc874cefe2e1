"""Conjugate gradients for A x = 1, with a sparse, positive definite A whose rows are shared among elastic ranks.

::

    flexmpi run examples/conjugate_gradient.py --grid 64 --output x.npy

Beside the arrays one number outlives an iteration, ``state.rho``. When the loop begins, rows are shared so that every
rank has as many non-zeros. Read ``jacobi.py`` first.

Under plain ``mpiexec`` the program runs on the ranks it was given; ``plain/conjugate_gradient.py`` is the same without
FlexMPI.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from mpi4py import MPI
from numpy.typing import ArrayLike, NDArray
from sparse_matrix import CsrRows, matrix_market_order, matrix_market_rows, multiply, poisson_rows

import flexmpi


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    matrix = parser.add_mutually_exclusive_group()
    matrix.add_argument("--matrix", type=Path, metavar="FILE.mtx", help="a symmetric matrix in Matrix Market format")
    matrix.add_argument("--grid", type=int, default=64, help="Poisson's equation on GRID x GRID points (%(default)s)")
    parser.add_argument("--itmax", type=int, default=10_000, help="most iterations (%(default)s)")
    parser.add_argument("--tolerance", type=float, default=1e-8, help="end at this relative residual (%(default)s)")
    parser.add_argument("--output", metavar="FILE.npy", help="where rank 0 saves the solution")
    options = parser.parse_args()
    if min(options.grid, options.itmax) < 1:
        parser.error("expected --grid and --itmax of 1 or more")
    return options


def order(options: argparse.Namespace) -> int:
    """Return the number of rows of the matrix."""
    return matrix_market_order(options.matrix) if options.matrix else int(options.grid**2)


def load_rows(options: argparse.Namespace, rows: range) -> CsrRows:
    """Return some rows of the matrix."""
    return matrix_market_rows(options.matrix, rows) if options.matrix else poisson_rows(options.grid, rows)


def gathered(comm: MPI.Intracomm, block: NDArray[np.float64], counts: ArrayLike) -> NDArray[np.float64]:
    """Return the whole of a vector of which every rank has a block."""
    whole = np.empty(np.sum(counts))
    comm.Allgatherv(block, [whole, counts])
    return whole


with flexmpi.session() as flex:
    options = arguments()
    n = order(options)
    limit = n * options.tolerance**2  # of r·r; the right-hand side has the length √n

    A = flex.csr("A", (n, n), constant=True)
    vectors = [flex.array(name, (n,)) for name in ("x", "r", "p")]
    state = flex.state(rho=1.0)
    if flex.starting:
        A.assign(*load_rows(options, A.rows))

    for iteration in flex.iterate(options.itmax):
        comm, counts, (x, r, p) = flex.comm, A.counts, (vector.local for vector in vectors)
        if iteration % 50 == 0:  # at the start, and again because rounding errors gather in r (Shewchuk 1994, B2)
            r[:] = 1.0 - multiply(A, gathered(comm, x, counts))
        rho = comm.allreduce(r @ r)
        if rho <= limit:
            break
        beta, state.rho = rho / state.rho, rho
        p[:] = r + beta * p
        Ap = multiply(A, gathered(comm, p, counts))
        curvature = comm.allreduce(p @ Ap)
        if curvature <= 0:
            sys.exit("conjugate_gradient: the matrix is not positive definite")
        x += rho / curvature * p
        r -= rho / curvature * Ap

    x_all = gathered(comm, x, counts)
    rho = comm.allreduce(np.sum((1.0 - multiply(A, x_all)) ** 2))
    if comm.rank == 0:
        print(f"Conjugate gradients: ended in iteration {iteration}, relative residual {np.sqrt(rho / n):.2e}")
        if options.output:
            np.save(options.output, x_all)
