"""The method of FlexMPI's C original and its kind: the running ranks spawn the new ones, merge, and share rows by Alltoallv.

Rank 0 prints what each change made the program feel. ``--child`` marks spawned ranks.
"""

from __future__ import annotations

import json
import sys
from time import perf_counter

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray
from workload import COLUMNS, calibrate, check, felt, fill, parser, rows_of, work

from flexmpi.runtime.arrays.distribution import Distribution

EVERY = 40
Block = NDArray[np.float64]

settings = parser()
settings.add_argument("--start", type=int, required=True)
settings.add_argument("--more", type=int, required=True)
settings.add_argument("--turns", type=int, required=True)
settings.add_argument("--child", action="store_true")
options = settings.parse_args()
rows = rows_of(options.megabytes)
row_type = MPI.DOUBLE.Create_contiguous(COLUMNS).Commit()
few = [1] * options.start + [0] * options.more
many = [1] * (options.start + options.more)


def move(comm: MPI.Comm, block: Block, old_weights: list[int], new_weights: list[int]) -> Block:
    """Share the rows anew over the ranks of ``comm``."""
    old, new = Distribution.by_weight(rows, old_weights), Distribution.by_weight(rows, new_weights)
    held, wanted = old.interval(comm.rank), new.interval(comm.rank)
    target = np.empty((len(wanted), COLUMNS))
    sends = [overlap(held, new.interval(peer)) for peer in range(comm.size)]
    receives = [overlap(wanted, old.interval(peer)) for peer in range(comm.size)]
    comm.Alltoallv(
        [block, ([len(part) for part in sends], [part.start for part in sends]), row_type],
        [target, ([len(part) for part in receives], [part.start for part in receives]), row_type],
    )
    return target


def overlap(held: range, other: range) -> range:
    """Return which rows of ``held``, counted from its first, the other has too."""
    start = max(held.start, other.start)
    stop = max(start, min(held.stop, other.stop))
    return range(start - held.start, stop - held.start) if stop > start else range(0)


def spawned_life() -> None:
    parent = MPI.Comm.Get_parent()
    comm = parent.Merge(high=True)
    parent.Disconnect()
    pieces = comm.bcast(None)
    block = move(comm, np.empty((0, COLUMNS)), few, many)
    check(block, Distribution.by_weight(rows, many).interval(comm.rank).start)
    for _ in range(EVERY):
        work(pieces, comm)
    move(comm, block, many, few)
    comm.Split(MPI.UNDEFINED, comm.rank)
    comm.Disconnect()


def founding_life() -> None:
    comm: MPI.Comm = MPI.COMM_WORLD.Dup()
    pieces = comm.bcast(calibrate())
    block = np.empty((len(Distribution.by_weight(rows, [1] * options.start).interval(comm.rank)), COLUMNS))
    first = Distribution.by_weight(rows, few).interval(comm.rank).start
    fill(block, first)
    begins, changes = [], []
    for turn in range(2 * options.turns + 1):
        for _ in range(EVERY):
            begins.append(perf_counter())
            work(pieces, comm)
        if turn == 2 * options.turns:
            break
        changes.append(len(begins))
        if turn % 2 == 0:
            child = [__file__, *sys.argv[1:], "--child"]
            assert isinstance(comm, MPI.Intracomm)
            bridge = comm.Spawn(sys.executable, child, maxprocs=options.more)
            merged = bridge.Merge(high=False)
            bridge.Disconnect()
            merged.bcast(pieces)
            block = move(merged, block, few, many)
            comm.Disconnect()
            comm = merged
        else:
            block = move(comm, block, many, few)
            rest = comm.Split(0, comm.rank)
            comm.Disconnect()
            comm = rest
            check(block, first)
    if comm.rank == 0:
        # An iteration begins with what comes before it: the change.
        gaps = felt(begins, [at - 1 for at in changes])
        print(json.dumps({"expand_s": gaps[::2], "shrink_s": gaps[1::2]}))


if options.child:
    spawned_life()
else:
    founding_life()
