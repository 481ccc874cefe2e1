"""Ranks that never communicate: rank 0 stays in iteration 5 until each of the others has got through 50 iterations.

They tell it through FIFOs ``--folder``/RANK, so any collective call of the runtime's between would block for ever.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import flexmpi

parser = argparse.ArgumentParser()
parser.add_argument("--folder", type=Path, required=True)
options = parser.parse_args()

with flexmpi.session(interval=100) as flex:
    vector = flex.array("x", (30,))
    heard = []
    for iteration in flex.iterate(60):
        vector.local += 1
        if flex.rank == 0 and iteration == 5:
            for rank in range(1, flex.size):
                fifo = options.folder / str(rank)
                heard.append(fifo.read_text())
        if flex.rank > 0 and iteration == 50:
            (options.folder / str(flex.rank)).write_text(f"rank {flex.rank} is in iteration {iteration}")
    assert (vector.local == 60).all()
    if flex.rank == 0:
        print("; ".join(heard), f"(pid {os.getpid()})")
