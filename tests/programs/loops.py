"""Three loops one after the other, each until the file ``--folder``/``end-LOOP`` appears, with declarations in between.

Newcomers wait for the file ``newcomers`` before they declare anything. Every rank tells in which iterations it took part.
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
options = parser.parse_args()


def wait_for(name: str) -> None:
    while not (options.folder / name).exists():
        time.sleep(0.005)


with flexmpi.session() as flex:
    if not flex.starting:
        (options.folder / f"started-{os.getpid()}").touch()
        wait_for("newcomers")
    count = flex.array("count", (40,), np.int64)
    done = flex.state(iterations=0)
    part: list[str] = []
    for loop in range(3):
        extra = flex.array(f"of loop {loop}", (25, 2))
        # Every rank, for those that joined in an earlier loop have rows here; one that has not joined has none.
        extra.local[:] = loop + 1
        if not flex.starting:
            (options.folder / f"ready-{os.getpid()}").touch()
        first = -1
        for iteration in flex.iterate(1_000_000):
            first = iteration if first < 0 else first
            assert (count.local == done.iterations).all(), (count.local, done)
            assert (extra.local == loop + 1).all() and flex.comm.allreduce(len(extra.rows)) == 25
            count.local += 1
            done.iterations += 1
            if loop == 0 and iteration == 2 and flex.rank == 0 and options.held_until:
                (options.folder / "held").touch()
                wait_for(options.held_until)
            if flex.comm.bcast((options.folder / f"end-{loop}").exists()):
                break
            time.sleep(0.001)
        part.append("not at all" if first < 0 else f"from {first}")
        # A rank outside the application comes by here too: alone, or with its process set, and without any row.
        assert flex.comm.allreduce(len(count.rows)) == (40 if count.rows else 0)
    print(f"pid {os.getpid()} took part: {', '.join(part)}")
    if flex.rank == 0:
        print(f"all was right for {done.iterations} iterations")
