"""The Jacobi method for A x = 1, with a dense, diagonally dominant A whose rows are shared among the ranks.

::

    mpiexec -n 2 python examples/plain/jacobi.py --dim 500 --output x.npy
"""

from __future__ import annotations

import argparse
import sys
import tempfile

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

SPECTRAL_RADIUS = 0.99  # of the iteration matrix: about 1,100 iterations until x changes by less than 1e-5


def arguments() -> argparse.Namespace:
    """Read the command line; the three intensities are those of the FlexMPI manual."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--dim", type=int, default=500, help="order of the matrix (%(default)s)")
    parser.add_argument("--itmax", type=int, default=10_000, help="most iterations (%(default)s)")
    parser.add_argument(
        "--diff-tol",
        type=float,
        default=1e-5,
        help="end when no x changes by more, with status 1 if that is not reached (%(default)s); 0: do all iterations",
    )
    parser.add_argument("--cpu-intensity", type=int, default=1, help="products A x in an iteration (%(default)s)")
    parser.add_argument("--com-intensity", type=int, default=1, help="exchanges of x in an iteration (%(default)s)")
    parser.add_argument("--io-intensity", type=int, default=0, help="write x every so many, 0: never (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the random matrix (%(default)s)")
    parser.add_argument("--output", metavar="FILE.npy", help="where rank 0 saves the solution")
    options = parser.parse_args()
    if options.dim < 2 or min(options.itmax, options.cpu_intensity, options.com_intensity) < 1:
        parser.error("expected --dim of 2 or more; --itmax, --cpu-intensity and --com-intensity of 1 or more")
    if min(options.io_intensity, options.seed) < 0:
        parser.error("expected --io-intensity and --seed of 0 or more")
    return options


def configuration(options: argparse.Namespace) -> str:
    """Return the line by which the FlexMPI manual's example begins."""
    return (
        f"[0] Configuration: dim: {options.dim} itmax: {options.itmax} diff_tol: {options.diff_tol:f} "
        f"cpu_intensity: {options.cpu_intensity} com_intensity: {options.com_intensity} "
        f"IO_intensity: {options.io_intensity}"
    )


def matrix_rows(dim: int, rows: range, seed: int) -> NDArray[np.float64]:
    """Return some rows of the matrix, shape (len(rows), dim); every rank can make any row by itself.

    Beside the diagonal stand positive random numbers, whose sum in each row is SPECTRAL_RADIUS times the diagonal; so
    that is the spectral radius of the Jacobi iteration (Perron, Frobenius). The scale makes the solution about 0.5.
    """
    A = np.empty((len(rows), dim))
    for local, row in enumerate(rows):
        A[local] = np.random.default_rng([seed, row]).random(dim) * 2 / dim
        A[local, row] = 0.0
        A[local, row] = A[local].sum() / SPECTRAL_RADIUS
    return A


if __name__ == "__main__":
    options = arguments()
    n = options.dim
    x_all = np.empty(n)

    comm = MPI.COMM_WORLD
    counts = [n // comm.size + (rank < n % comm.size) for rank in range(comm.size)]
    rows = range(sum(counts[: comm.rank]), sum(counts[: comm.rank + 1]))
    if 0 in rows:
        print(configuration(options))
    A = matrix_rows(n, rows, options.seed)
    x = np.zeros(len(rows))

    for iteration in range(options.itmax):
        for _ in range(options.com_intensity):
            comm.Allgatherv(x, [x_all, counts])
        for _ in range(options.cpu_intensity):
            residual = 1.0 - A @ x_all
        change = residual / A.diagonal(rows.start)
        x += change
        if comm.rank == 0 and options.io_intensity and (iteration + 1) % options.io_intensity == 0:
            with tempfile.TemporaryFile() as scratch:
                np.save(scratch, x_all)
        difference = comm.allreduce(np.abs(change).max(initial=0.0), MPI.MAX)
        if difference < options.diff_tol:
            break

    comm.Allgatherv(x, [x_all, counts])
    largest = comm.allreduce(np.abs(1.0 - A @ x_all).max(initial=0.0), MPI.MAX)
    if comm.rank == 0:
        print(f"Jacobi: {iteration + 1} iterations, difference {difference:.2e}, residual {largest:.2e}")
        if options.output:
            np.save(options.output, x_all)
    if options.diff_tol > 0 and not difference < options.diff_tol:
        sys.exit("jacobi: not converged: --itmax is too small for --diff-tol" if comm.rank == 0 else 1)
