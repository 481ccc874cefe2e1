"""Three loops one after the other, each until the file ``--folder``/``end-LOOP`` appears, with declarations in between.

Successors wait for the file ``successors`` before they declare anything. Every rank tells in which iterations it took part.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np

import flexmpi

parser = argparse.ArgumentParser()
parser.add_argument("--folder", type=Path, required=True)
parser.add_argument("--held-until", default="", help="the file that rank 0 waits for in iteration 2 of the first loop")
parser.add_argument("--uneven", action="store_true", help="the second loop has a matrix by which rows are shared anew")
options = parser.parse_args()


def wait_for(name: str) -> None:
    while not (options.folder / name).exists():
        time.sleep(0.005)


with flexmpi.session() as flex:
    if not flex.starting:
        (options.folder / f"started-{os.getpid()}").touch()
        wait_for("successors")
    count = flex.array("count", (40,), np.int64)
    done = flex.state(iterations=0)
    late = flex.array("filled behind the first loop", (25,), constant=True)
    part: list[str] = []
    for loop in range(3):
        extra = flex.array(f"of loop {loop}", (25, 2))
        constant = flex.array(f"constant of loop {loop}", (25,), constant=True)
        if loop == 1 and options.uneven:
            matrix = flex.csr("matrix", (25, 25))
            if flex.starting:
                lengths = np.where(np.arange(25) < 5, 10, 1)[matrix.rows.start : matrix.rows.stop]
                starts = np.concatenate([[0], np.cumsum(lengths)])
                matrix.assign(starts, np.zeros(starts[-1], dtype=np.int32), np.ones(starts[-1]))
        if flex.starting:
            # The world that computes; others are on their way to its loop.
            extra.local[:] = constant.local[:] = loop + 1
            if loop == 1:
                late.local[:] = 7
        else:
            (options.folder / f"ready-{os.getpid()}").touch()
        first = -1
        for iteration in flex.iterate(1_000_000):
            assert flex.starting
            first = iteration if first < 0 else first
            assert (count.local == done.iterations).all(), (count.local, done)
            assert (extra.local == loop + 1).all() and flex.comm.allreduce(len(extra.rows)) == 25
            assert (constant.local == loop + 1).all() and constant.local.flags.writeable
            assert (late.local == (7 if loop else 0)).all(), late.local
            count.local += 1
            done.iterations += 1
            if loop == 0 and iteration == 2 and flex.rank == 0 and options.held_until:
                (options.folder / "held").touch()
                wait_for(options.held_until)
            if flex.comm.bcast((options.folder / f"end-{loop}").exists()):
                break
            time.sleep(0.001)
        part.append("not at all" if first < 0 else f"from {first}")
        assert flex.comm.allreduce(len(count.rows)) == 40, "rows are known everywhere"
    print(f"pid {os.getpid()} took part: {', '.join(part)}")
    if flex.rank == 0:
        print(f"all was right for {done.iterations} iterations")
