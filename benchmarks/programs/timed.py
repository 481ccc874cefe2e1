"""Declared work: each rank sleeps so many seconds for each of its rows, so that an iteration takes what its rows say."""

from __future__ import annotations

import argparse
import time

import flexmpi

parser = argparse.ArgumentParser()
parser.add_argument("--rows", type=int, default=48)
parser.add_argument("--row-s", type=float, default=0.001)
parser.add_argument("--serial-s", type=float, default=0.0)
parser.add_argument("--iterations", type=int, default=300)
options = parser.parse_args()

with flexmpi.session() as flex:
    counts = flex.array("counts", (options.rows, 128))
    for _ in flex.iterate(options.iterations):
        time.sleep(options.serial_s + options.row_s * len(counts.rows))
        counts.local[:] += 1
        flex.comm.Barrier()
    total = flex.comm.allreduce(counts.local.sum())
    if flex.rank == 0:
        complete = total == options.rows * 128 * options.iterations
        print(f"{options.iterations} iterations on {flex.size} ranks, all rows counted: {complete}")
