"""In every iteration all ranks are at their I/O at the same time, and wait for each other there. Ends after ``--iterations``."""

from __future__ import annotations

import argparse
import time

import flexmpi

parser = argparse.ArgumentParser()
parser.add_argument("--iterations", type=int, default=100_000)
parser.add_argument("--pause", type=float, default=0.0)
options = parser.parse_args()

with flexmpi.session() as flex:
    rows = flex.array("rows", (100,))
    for _ in flex.iterate(options.iterations):
        with flex.io(size_bytes=8 * len(rows.rows)):
            flex.comm.barrier()
        flex.comm.barrier()
        time.sleep(options.pause)
    if flex.rank == 0:
        print("written")
