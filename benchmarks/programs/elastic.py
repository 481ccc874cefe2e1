"""An elastic program with an array that changes and one that is constant; rank 0 prints what each change made it feel.

What it prints as ``longest_s`` counts all iterations since the change before: those too in which constant data moved ahead.
"""

from __future__ import annotations

import json
from time import perf_counter

import numpy as np
from workload import COLUMNS, calibrate, check, felt, fill, longest, parser, rows_of, work

from flexmpi import Session, session

settings = parser()
settings.add_argument("--constant-megabytes", type=float, default=0)
settings.add_argument("--kind", choices=["dense", "csr"], default="dense", help="of the constant data")
options = settings.parse_args()
AFTER = 8
"""So many iterations after a change it is told what was felt of it."""
NONZEROS = 32


class Dense:
    """A dense array in which each row has its number."""

    def __init__(self, flex: Session, megabytes: float) -> None:
        self.array = flex.array("fixed", (rows_of(megabytes) + 1, COLUMNS), constant=True)

    def fill(self) -> None:
        fill(self.array.local, self.array.rows.start)

    def check(self) -> None:
        check(self.array.local, self.array.rows.start)


class Sparse:
    """A CSR matrix with as many non-zeros in each row, whose values are the row's number."""

    def __init__(self, flex: Session, megabytes: float) -> None:
        rows = round(megabytes * 1e6 / (8 + 12 * NONZEROS))
        self.matrix = flex.csr("fixed", (rows, rows), constant=True)

    def fill(self) -> None:
        rows = self.matrix.rows
        starts = np.arange(0, NONZEROS * len(rows) + 1, NONZEROS)
        columns = np.tile(np.arange(NONZEROS, dtype=np.int32), len(rows))
        self.matrix.assign(starts, columns, np.repeat(np.arange(rows.start, rows.stop, dtype=float), NONZEROS))

    def check(self) -> None:
        matrix, first = self.matrix, self.matrix.rows.start
        # Few rows, for what this takes counts as felt.
        some = np.linspace(0, len(matrix.rows) - 1, 50, dtype=int)
        starts = matrix.indptr[some]
        right = matrix.indptr[-1] == len(matrix.data) == len(matrix.indices) == NONZEROS * len(matrix.rows)
        if not (right and (starts == NONZEROS * some).all() and (matrix.data[starts + 5] == first + some).all()):
            raise RuntimeError("non-zeros were lost")
        if not (matrix.indices[starts + 5] == 5).all():
            raise RuntimeError("columns were lost")


with session() as flex:
    array = flex.array("array", (rows_of(options.megabytes), COLUMNS))
    fixed = (Dense if options.kind == "dense" else Sparse)(flex, options.constant_megabytes)
    known = flex.state(pieces=0)
    if flex.starting:
        fill(array.local, array.rows.start)
        fixed.fill()
        known.pieces = flex.comm.bcast(calibrate())
    begins: list[float] = []
    changes: list[int] = []
    since = 0
    flex.on_resize(lambda _: changes.append(len(begins)))
    for _ in flex.iterate(100_000_000):
        begins.append(perf_counter())
        if changes and changes[-1] == len(begins) - 4:
            check(array.local, array.rows.start)
            fixed.check()
        work(known.pieces, flex.comm)
        # The benchmark ends it with command 5, so what was felt is told as it happens.
        if flex.rank == 0 and changes and len(begins) == changes[-1] + AFTER:
            around = begins[-60:]
            figures = {"felt_s": felt(around, [len(around) - AFTER - 1])[0], "longest_s": longest(begins[since:])}
            print(json.dumps(figures), flush=True)
            since = len(begins)
