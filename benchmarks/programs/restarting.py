"""Stop and restart from a file: ranks write their rows and end; others, in another number, read theirs and go on.

``--file`` is read if it exists, and written at the end. Rank 0 prints when its first and last iterations began.
"""

from __future__ import annotations

import json
from pathlib import Path
from time import perf_counter

import numpy as np
from mpi4py import MPI
from workload import COLUMNS, ROW_BYTES, calibrate, check, fill, parser, rows_of, work

from flexmpi.runtime.arrays.distribution import Distribution

settings = parser()
settings.add_argument("--file", type=Path, required=True)
settings.add_argument("--pieces", type=int, default=0)
options = settings.parse_args()
comm = MPI.COMM_WORLD
held = Distribution.by_weight(rows_of(options.megabytes), [1] * comm.size).interval(comm.rank)
block = np.empty((len(held), COLUMNS))
if options.pieces:
    with options.file.open("rb", buffering=0) as file:
        file.seek(held.start * ROW_BYTES)
        file.readinto(block.data.cast("B"))
    check(block, held.start)
else:
    fill(block, held.start)
pieces = options.pieces or comm.bcast(calibrate())
begins = []
for _ in range(40):
    begins.append(perf_counter())
    work(pieces, comm)
if comm.rank == 0:
    options.file.touch()
comm.Barrier()
with options.file.open("rb+", buffering=0) as file:
    file.seek(held.start * ROW_BYTES)
    file.write(block.data.cast("B"))
comm.Barrier()
if comm.rank == 0:
    normal = float(np.median(np.diff(begins)))
    print(json.dumps({"first": begins[0], "last": begins[-1], "normal_s": normal, "pieces": pieces}))
