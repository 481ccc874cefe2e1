"""An elastic program with one array; rank 0 prints what each change made it feel."""

from __future__ import annotations

import json
from time import perf_counter

from workload import COLUMNS, calibrate, check, felt, fill, parser, rows_of, work

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
    flex.on_resize(lambda _: changes.append(len(begins)))
    for _ in flex.iterate(100_000_000):
        begins.append(perf_counter())
        if changes and changes[-1] == len(begins) - 4:
            check(array.local, array.rows.start)
        work(known.pieces, flex.comm)
        # The benchmark ends it with command 5, so what was felt is told as it happens.
        if flex.rank == 0 and changes and len(begins) == changes[-1] + 8:
            print(json.dumps({"felt_s": felt(begins[-60:], [len(begins[-60:]) - 9])[0]}), flush=True)
