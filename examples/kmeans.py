"""K-means clustering by Lloyd's method, of points whose rows are shared among elastic ranks.

::

    flexmpi run examples/kmeans.py --data points.csv --clusters 10 --output centres.npy

Points are distributed and never change; every rank has all the centres, and one that joins later receives them. Read
``jacobi.py`` first.

Under plain ``mpiexec`` the program runs on the ranks it was given; ``plain/kmeans.py`` is the same without FlexMPI.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

import flexmpi


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, metavar="FILE", required=True, help="one point a row, in .npy or .csv")
    parser.add_argument("--clusters", type=int, default=10, help="number of centres (%(default)s)")
    parser.add_argument("--itmax", type=int, default=300, help="most iterations (%(default)s)")
    parser.add_argument("--tolerance", type=float, default=1e-6, help="end when no centre moves by more (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of the first centres (%(default)s)")
    parser.add_argument("--output", metavar="FILE.npy", help="where rank 0 saves the centres")
    options = parser.parse_args()
    if min(options.clusters, options.itmax) < 1 or options.seed < 0:
        parser.error("expected --clusters and --itmax of 1 or more; --seed of 0 or more")
    return options


def read_points(path: Path, clusters: int) -> NDArray[np.float64]:
    """Return the points of a file, shape (points, dimensions); of a .npy file only the rows in use are read.

    Raises
    ------
    ValueError
        The file holds no table of numbers, or fewer points than clusters.
    """
    data = np.load(path, mmap_mode="r") if path.suffix == ".npy" else np.loadtxt(path, delimiter=",", ndmin=2)
    if data.ndim != 2 or len(data) < clusters:
        raise ValueError(f"{path}: expected a table of {clusters} rows or more, got shape {data.shape}")
    return data


def first_centres(data: NDArray[np.float64], clusters: int, seed: int) -> NDArray[np.float64]:
    """Return points chosen at random, shape (clusters, dimensions); every rank chooses the same."""
    return data[np.random.default_rng(seed).choice(len(data), clusters, replace=False)].astype(float)


def squared_distances(points: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return |p|² - 2 p·c + |c|² for every point p and centre c, shape (points, clusters)."""
    distances: NDArray[np.float64] = points @ (-2 * centres.T)
    distances += np.sum(points**2, axis=1, keepdims=True) + np.sum(centres**2, axis=1)
    return distances


with flexmpi.session() as flex:
    options = arguments()
    data = read_points(options.data, options.clusters)
    n, dimensions = data.shape
    clusters = np.arange(options.clusters)

    points = flex.array("points", (n, dimensions), constant=True)
    centres = flex.replicated("centres", (options.clusters, dimensions))
    if flex.starting:
        points.local[:] = data[points.rows.start : points.rows.stop]
        centres.local[:] = first_centres(data, options.clusters, options.seed)

    for iteration in flex.iterate(options.itmax):
        comm, X, C = flex.comm, points.local, centres.local
        members = squared_distances(X, C).argmin(axis=1) == clusters[:, None]
        sums, sizes = members @ X, members.sum(axis=1, keepdims=True)
        comm.Allreduce(MPI.IN_PLACE, sums)
        comm.Allreduce(MPI.IN_PLACE, sizes)
        means = np.divide(sums, sizes, out=C.copy(), where=sizes > 0)  # a centre without points stays where it is
        movement = np.abs(means - C).max()
        C[:] = means
        if movement < options.tolerance:
            break

    inertia = comm.allreduce(squared_distances(X, C).min(axis=1).sum())
    if comm.rank == 0:
        print(f"K-means: {iteration + 1} iterations, movement {movement:.2e}, inertia {inertia:.6e}")
        if options.output:
            np.save(options.output, C)
