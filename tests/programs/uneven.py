"""Ranks work for a time in proportion to their rows, the first of them at half speed. Rank 0 prints the shares at the end.

The work is a busy loop of a fixed processor time a row, not a sleep: it is what a rank's clocks measure.
"""

from __future__ import annotations

import argparse
import time

import flexmpi

parser = argparse.ArgumentParser()
parser.add_argument("--iterations", type=int, default=200)
parser.add_argument("--row-seconds", type=float, default=1e-4)
options = parser.parse_args()


def work(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


with flexmpi.session() as flex:
    rows = flex.array("rows", (100,))
    for _ in flex.iterate(options.iterations):
        work(len(rows.rows) * options.row_seconds * (2 if flex.rank == 0 else 1))
        flex.comm.barrier()
    if flex.rank == 0:
        print("shares", *rows.counts)
