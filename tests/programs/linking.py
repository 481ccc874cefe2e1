"""Notices when constant rows move ahead of a change of ranks, and then does what ``--then`` says; checks its data all the time.

``--then=end``: end the application. ``next``: go on in the next loop. ``hold``: compute on for ever, until told otherwise.
``short``: every loop ends in its first iteration, from the beginning until ranks have changed.
With ``--until-go`` no rank takes rows for arrived before the file ``go`` appears.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import flexmpi
from flexmpi.runtime.joining import ahead

parser = argparse.ArgumentParser()
parser.add_argument("--folder", type=Path, required=True)
parser.add_argument("--then", choices=["end", "next", "hold", "short"], required=True)
parser.add_argument("--until-go", action="store_true")
options = parser.parse_args()
ahead.SMALLEST_BYTES = 1
ahead.PIECE_BYTES = 1000
ROWS = 500
if options.until_go:
    arrived = ahead.MoveAhead.progress
    ahead.MoveAhead.progress = lambda self: arrived(self) and (options.folder / "go").exists()  # type: ignore[method-assign]


def linked(session: flexmpi.Session) -> bool:
    """Whether rank 0 is between the two steps; there is no public word for it."""
    return bool(
        session.comm.bcast(session._agreement is not None and session._agreement._changeover.linked is not None)
    )


with flexmpi.session() as flex:
    fixed = flex.array("fixed", (ROWS, 9), np.int64, constant=True)
    sparse = flex.csr("sparse", (ROWS, ROWS), constant=True)
    count = flex.array("count", (ROWS,), np.int64)
    done = flex.state(iterations=0, changes=0)
    if flex.starting:
        fixed.local[:] = np.array(fixed.rows)[:, None]
        sparse.assign(np.arange(len(sparse.rows) + 1), list(sparse.rows), np.array(sparse.rows, dtype=float))
    founding_size = flex.size
    for loop in range(2 if options.then != "short" else 100_000_000):
        changed, size = False, flex.size
        for _ in flex.iterate(100_000_000):
            rows = fixed.rows
            assert fixed.local.shape == (len(rows), 9) and (fixed.local == np.array(rows)[:, None]).all()
            assert sparse.indices.tolist() == sparse.data.tolist() == list(rows)
            assert sparse.indptr.tolist() == list(range(len(rows) + 1))
            assert (count.local == done.iterations).all()
            count.local += 1
            done.iterations += 1
            if linked(flex):
                if flex.rank == 0:
                    (options.folder / "linked").touch()
                if options.then != "hold" and loop == 0:
                    break
            if options.then == "short":
                break
            if flex.size != size and loop == 1:
                changed = True
                break
        if options.then == "end" or (options.then == "short" and flex.size != founding_size):
            break
    if flex.rank == 0:
        print(f"all was right for {done.iterations} iterations; changed in loop 1: {changed}")
