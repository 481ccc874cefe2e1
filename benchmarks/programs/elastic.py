"""An elastic program with an array that changes and one that is constant; rank 0 prints what each change made it feel.

What it prints as ``longest_s`` counts all iterations since the change before: those too in which constant data moved ahead.
"""

from __future__ import annotations

import json
from time import perf_counter

from workload import COLUMNS, calibrate, check, felt, fill, longest, parser, rows_of, work

from flexmpi import session

settings = parser()
settings.add_argument("--constant-megabytes", type=float, default=0)
options = settings.parse_args()
AFTER = 8
"""So many iterations after a change it is told what was felt of it."""

with session() as flex:
    array = flex.array("array", (rows_of(options.megabytes), COLUMNS))
    fixed = flex.array("fixed", (rows_of(options.constant_megabytes) + 1, COLUMNS), constant=True)
    known = flex.state(pieces=0)
    if flex.starting:
        fill(array.local, array.rows.start)
        fill(fixed.local, fixed.rows.start)
        known.pieces = flex.comm.bcast(calibrate())
    begins: list[float] = []
    changes: list[int] = []
    since = 0
    flex.on_resize(lambda _: changes.append(len(begins)))
    for _ in flex.iterate(100_000_000):
        begins.append(perf_counter())
        if changes and changes[-1] == len(begins) - 4:
            check(array.local, array.rows.start)
            check(fixed.local, fixed.rows.start)
        work(known.pieces, flex.comm)
        # The benchmark ends it with command 5, so what was felt is told as it happens.
        if flex.rank == 0 and changes and len(begins) == changes[-1] + AFTER:
            around = begins[-60:]
            figures = {"felt_s": felt(around, [len(around) - AFTER - 1])[0], "longest_s": longest(begins[since:])}
            print(json.dumps(figures), flush=True)
            since = len(begins)
