"""Work of a known time: an iteration sleeps ``--serial`` seconds, and ``--shared`` seconds times its part of all rows."""

from __future__ import annotations

import argparse
import time

import flexmpi

parser = argparse.ArgumentParser()
parser.add_argument("--iterations", type=int, default=1_000_000)
parser.add_argument("--rows", type=int, default=1200)
parser.add_argument("--serial", type=float, default=0.0)
parser.add_argument("--shared", type=float, default=0.1)
options = parser.parse_args()

with flexmpi.session() as flex:
    work = flex.array("work", (options.rows,))
    for _ in flex.iterate(options.iterations):
        time.sleep(options.serial + options.shared * len(work.rows) / options.rows)
        flex.comm.barrier()
