"""Ranks sleep for their rows of every kind of object: rows of unlike lengths, with costs, dense, and copies of an array.

With ``--refill`` the sparse matrix is assigned anew in one iteration, with other lengths of rows.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

import flexmpi

parser = argparse.ArgumentParser()
parser.add_argument("--iterations", type=int, default=100_000)
parser.add_argument("--refill", type=int)
parser.add_argument("--row-s", type=float, default=5e-4)
options = parser.parse_args()
ROWS = 60


def lengths(rows: range, generation: int) -> np.ndarray:
    """Return how many non-zeros rows have."""
    return np.array([(row * row + 7 * generation * row) % 23 for row in rows], dtype=np.int64)


def fill(matrix: flexmpi.DistributedCSR, generation: int) -> None:
    """Assign the local rows."""
    starts = np.concatenate([[0], np.cumsum(lengths(matrix.rows, generation))])
    matrix.assign(starts, np.zeros(starts[-1], dtype=np.int32), np.ones(starts[-1], dtype=np.float32))


with flexmpi.session() as flex:
    matrix = flex.csr("A", (ROWS, 40), dtype=np.float32)
    x = flex.array("x", (ROWS, 3))
    y = flex.array("y", (ROWS + 1,))
    table = flex.replicated("table", (11,))
    state = flex.state(generation=0)
    if flex.starting:
        fill(matrix, 0)
    for iteration in flex.iterate(options.iterations):
        if iteration == options.refill:
            state.generation = 1
            fill(matrix, 1)
        time.sleep(options.row_s * len(x.rows))
        flex.comm.Barrier()
    right = matrix.indptr[-1] == lengths(matrix.rows, state.generation).sum()
    if flex.comm.allreduce(int(right)) == flex.size and flex.rank == 0:
        print("all rows are whole")
