"""Notices when newcomers are connected but have not joined, and then does what ``--then`` says; checks its data all the time.

``--then=end``: end the application. ``next``: go on in the next loop. ``hold``: compute on for ever, until told otherwise.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import flexmpi
from flexmpi.runtime import ahead

parser = argparse.ArgumentParser()
parser.add_argument("--folder", type=Path, required=True)
parser.add_argument("--then", choices=["end", "next", "hold"], required=True)
options = parser.parse_args()
ahead.SMALLEST_BYTES = 1
ahead.PIECE_BYTES = 1000
ROWS = 500


def linked(session: flexmpi.Session) -> bool:
    """Whether rank 0 is between the two steps; there is no public word for it."""
    return bool(session.comm.bcast(session._agreement is not None and session._agreement._linked is not None))


with flexmpi.session() as flex:
    fixed = flex.array("fixed", (ROWS, 9), np.int64, constant=True)
    count = flex.array("count", (ROWS,), np.int64)
    done = flex.state(iterations=0, changes=0)
    if flex.starting:
        fixed.local[:] = np.array(fixed.rows)[:, None]
    for loop in range(2):
        joined = False
        for _ in flex.iterate(100_000_000):
            rows = fixed.rows
            assert fixed.local.shape == (len(rows), 9) and (fixed.local == np.array(rows)[:, None]).all()
            assert (count.local == done.iterations).all()
            count.local += 1
            done.iterations += 1
            if linked(flex):
                if flex.rank == 0:
                    (options.folder / "linked").touch()
                if options.then != "hold" and loop == 0:
                    break
            if flex.size > 1 and loop == 1:
                joined = True
                break
        if options.then == "end":
            break
    if flex.rank == 0:
        print(f"all was right for {done.iterations} iterations; joined in loop 1: {joined}")
