"""An elastic program with a dense array, which changes by joining or by handover; rank 0 of each world tells its times.

It prints when its iterations began, before which of them ranks had changed, and when its last one ended, by the system's
monotonic clock, which all processes of a machine share. A successor's first iteration is one after a change.
"""

from __future__ import annotations

import json
from time import monotonic

from workload import COLUMNS, calibrate, check, fill, parser, rows_of, work

from benchmarks.timelines import NEIGHBOURS
from flexmpi import session

options = parser().parse_args()

with session() as flex:
    array = flex.array("array", (rows_of(options.megabytes), COLUMNS))
    known = flex.state(pieces=0)
    if flex.starting:
        fill(array.local, array.rows.start)
        known.pieces = flex.comm.bcast(calibrate())
    begins: list[float] = []
    changes: list[int] = []
    end, leads = 0.0, False
    flex.on_resize(lambda _: changes.append(len(begins)))
    try:
        for _ in flex.iterate(100_000_000):
            begins.append(monotonic())
            leads = flex.rank == 0
            if changes and len(begins) - 1 == changes[-1] + NEIGHBOURS:
                check(array.local, array.rows.start)
            work(known.pieces, flex.comm)
            end = monotonic()
    finally:
        # The loop ends in a predecessor when it has handed over, and by command 5.
        if leads:
            print(json.dumps({"begins": begins, "changes": changes, "end": end}), flush=True)
