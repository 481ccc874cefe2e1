"""Checks at every iteration that each row is where it should be; adds up who took part.

Ends after ``--iterations``, or when the file ``--until`` is there.

Prints, from rank 0, one line at the end: iterations, ranks, and whether all was right all the time.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

import flexmpi

parser = argparse.ArgumentParser()
parser.add_argument("--iterations", type=int, default=100_000)
parser.add_argument("--rows", type=int, default=1000)
parser.add_argument("--pause", type=float, default=0.0)
parser.add_argument("--until", type=Path)
options = parser.parse_args()

with flexmpi.session() as flex:
    n = options.rows
    matrix = flex.array("matrix", (n, 5))
    counters = flex.array("counters", (n,), np.int64)
    table = flex.replicated("table", (7,))
    state = flex.state(iterations=0)
    if flex.starting:
        matrix.local[:] = np.arange(matrix.rows.start, matrix.rows.stop)[:, None]
        table.local[:] = np.arange(7)
    for iteration in flex.iterate(options.iterations):
        assert (matrix.local[:, 4] == np.arange(matrix.rows.start, matrix.rows.stop)).all()
        assert (counters.local == iteration).all(), (iteration, counters.local)
        assert (table.local == np.arange(7)).all()
        assert state.iterations == iteration
        assert flex.comm.allreduce(len(matrix.rows)) == n
        counters.local += 1
        state.iterations += 1
        if options.until and flex.comm.bcast(options.until.exists()):
            flex.stop()
        time.sleep(options.pause)
    if flex.rank == 0:
        print(f"counted {state.iterations} iterations on {flex.size} ranks")
