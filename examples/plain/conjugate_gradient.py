"""Conjugate gradients for A x = 1, with a sparse, positive definite A whose rows are shared among the ranks.

::

    mpiexec -n 2 python examples/plain/conjugate_gradient.py --grid 64 --output x.npy
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NoReturn

import numpy as np
from mpi4py import MPI
from numpy.typing import ArrayLike, NDArray
from sparse_matrix import Csr, CsrRows, matrix_market_order, matrix_market_rows, multiply, poisson_rows

ROUNDING = 1e-12  # relative; a symmetric matrix may differ from its transpose by so much


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    matrix = parser.add_mutually_exclusive_group()
    matrix.add_argument("--matrix", type=Path, metavar="FILE.mtx", help="a symmetric matrix in Matrix Market format")
    matrix.add_argument("--grid", type=int, default=64, help="Poisson's equation on GRID x GRID points (%(default)s)")
    parser.add_argument(
        "--itmax", type=int, default=10_000, help="most iterations (%(default)s); status 1 if they are not enough"
    )
    parser.add_argument("--tolerance", type=float, default=1e-8, help="end at this relative residual (%(default)s)")
    parser.add_argument("--output", metavar="FILE.npy", help="where rank 0 saves the solution")
    options = parser.parse_args()
    if min(options.grid, options.itmax) < 1:
        parser.error("expected --grid and --itmax of 1 or more")
    return options


def order(options: argparse.Namespace) -> int:
    """Return the number of rows of the matrix."""
    try:
        return matrix_market_order(options.matrix) if options.matrix else int(options.grid**2)
    except (OSError, ValueError) as error:
        sys.exit(f"conjugate_gradient: {error}")


def load_rows(options: argparse.Namespace, rows: range) -> CsrRows:
    """Return some rows of the matrix."""
    try:
        return matrix_market_rows(options.matrix, rows) if options.matrix else poisson_rows(options.grid, rows)
    except (OSError, ValueError) as error:
        sys.exit(f"conjugate_gradient: {error}")


def gathered(comm: MPI.Intracomm, block: NDArray[np.float64], counts: ArrayLike) -> NDArray[np.float64]:
    """Return the whole of a vector of which every rank has a block."""
    whole = np.empty(np.sum(counts))
    comm.Allgatherv(block, [whole, counts])
    return whole


def asymmetry(comm: MPI.Intracomm, A: Csr, counts: ArrayLike) -> float:
    """Return by how much u·Av and v·Au differ for two random vectors, relative to the sum of their terms without signs.

    That is rounding alone where A is symmetric. A rank multiplies only its own rows, and no entry leaves it: a comparison
    entry by entry would send the matrix across all ranks. What is too little for this to find, the residual shows.
    """
    ends = np.cumsum(counts)
    mine = slice(ends[comm.rank] - np.diff(ends, prepend=0)[comm.rank], ends[comm.rank])
    u, v = np.random.default_rng(0).standard_normal((2, ends[-1]))  # the same on every rank
    sizes = multiply(CsrRows(A.indptr, A.indices, abs(A.data)), abs(v))
    difference, size = comm.allreduce(
        np.array([u[mine] @ multiply(A, v) - v[mine] @ multiply(A, u), abs(u[mine]) @ sizes])
    )
    return float(abs(difference) / size) if size > 0 else 0.0


def refuse(comm: MPI.Intracomm, what: str) -> NoReturn:
    """End all ranks with status 1; the first says why."""
    sys.exit(f"conjugate_gradient: {what}" if comm.rank == 0 else 1)


if __name__ == "__main__":
    options = arguments()
    n = order(options)
    limit = n * options.tolerance**2  # of r·r; the right-hand side has the length √n

    comm = MPI.COMM_WORLD
    counts = [n // comm.size + (rank < n % comm.size) for rank in range(comm.size)]
    rows = range(sum(counts[: comm.rank]), sum(counts[: comm.rank + 1]))
    A = load_rows(options, rows)
    x, r, p = np.zeros((3, len(rows)))
    previous_rho = 1.0

    for iteration in range(options.itmax):
        if iteration == 0 and (difference := asymmetry(comm, A, counts)) > ROUNDING:
            refuse(comm, f"the matrix is not symmetric: u·Av and v·Au differ by {difference:.1e} for random u and v")
        rho = comm.allreduce(r @ r)
        if iteration % 50 == 0 or rho <= limit:  # because rounding errors gather in r (Shewchuk 1994, B2)
            r[:] = 1.0 - multiply(A, gathered(comm, x, counts))
            rho = comm.allreduce(r @ r)
        if rho <= limit:
            break
        beta, previous_rho = rho / previous_rho, rho
        p[:] = r + beta * p
        Ap = multiply(A, gathered(comm, p, counts))
        curvature = comm.allreduce(p @ Ap)
        if not curvature > 0:
            refuse(comm, "the matrix is not positive definite")
        x += rho / curvature * p
        r -= rho / curvature * Ap

    x_all = gathered(comm, x, counts)
    r[:] = 1.0 - multiply(A, x_all)
    rho = comm.allreduce(r @ r)
    if comm.rank == 0:
        print(f"Conjugate gradients: ended in iteration {iteration}, relative residual {np.sqrt(rho / n):.2e}")
        if options.output:
            np.save(options.output, x_all)
    if not rho <= limit:
        refuse(
            comm, f"not converged: relative residual {np.sqrt(rho / n):.2e}, expected {options.tolerance:.2e} or less"
        )
