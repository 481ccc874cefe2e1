"""Declares what is filled late, or has an odd name, and checks it in each iteration of each loop until ``--folder``/``stop``.

The constant matrix is assigned in the first iteration, the other one anew before each loop.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

import flexmpi
from flexmpi.runtime.arrays.dense import DistributedCSR

ROWS = 40

parser = argparse.ArgumentParser()
parser.add_argument("--folder", type=Path, required=True)
parser.add_argument(
    "--loops", type=int, default=1, help="how many loops of ten iterations there are before the last one"
)
options = parser.parse_args()


def assign(matrix: DistributedCSR, value: float) -> None:
    """Make a diagonal matrix."""
    rows = np.arange(matrix.rows.start, matrix.rows.stop)
    matrix.assign(np.arange(len(rows) + 1), rows, np.full(len(rows), value))


def check(matrix: DistributedCSR, value: float) -> None:
    assert matrix.indices.tolist() == list(matrix.rows), (matrix.name, matrix.indices, matrix.rows)
    assert (matrix.data == value).all(), (matrix.name, matrix.data)


with flexmpi.session() as flex:
    once = flex.csr("assigned in the loop", (ROWS, ROWS), constant=True, balance="rows")
    anew = flex.csr("assigned anew", (ROWS, ROWS), balance="rows")
    odd = [flex.array(name, (ROWS,), np.int64) for name in ("ü中" * 60, "a\0b", "\ud800", "a/b c", "-")]
    empty = [flex.array("no rows", 0), flex.array("rows of nothing", (ROWS, 0)), flex.csr("no matrix", (0, ROWS))]
    if flex.starting:
        for array in odd:
            array.local[:] = array.rows
    for loop in range(options.loops + 1):
        is_last = loop == options.loops
        if flex.starting:
            assign(anew, float(loop))
        for iteration in flex.iterate(10**9 if is_last else 10):
            if loop == 0 and iteration == 0:
                assign(once, 3.0)
            check(once, 3.0)
            check(anew, float(loop))
            assert all(array.local.tolist() == list(array.rows) for array in odd)
            assert sum(array.local.size for array in empty[:2]) == len(empty[2].data) == 0
            if is_last:
                time.sleep(0.001)
            if flex.comm.bcast((options.folder / "stop").exists()):
                flex.stop()
    if flex.rank == 0:
        print("all was right")
