"""Moves the rows of one object from an old to a new distribution by several methods, in turns; rank 0 prints JSON lines.

All methods start from filled blocks and end with a new block on every rank, in memory they have just asked for, as in a change
of ranks. Rates count the bytes that change ranks.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from flexmpi.runtime.arrays.dense import DistributedArray, DistributedCSR, RowSpace
from flexmpi.runtime.arrays.distribution import Distribution, overlap_plan
from flexmpi.runtime.arrays.redistribution import move_object

Bytes = NDArray[np.uint8]

parser = argparse.ArgumentParser()
parser.add_argument("--kind", choices=["dense", "csr"], required=True)
parser.add_argument("--megabytes", type=float, required=True)
parser.add_argument("--old", type=int, nargs="+", required=True, help="weight of each rank before")
parser.add_argument("--new", type=int, nargs="+", required=True, help="and after")
parser.add_argument("--turns", type=int, required=True)
options = parser.parse_args()

comm = MPI.COMM_WORLD
rank = comm.rank
COLUMNS, NONZEROS = 512, 32
ROW_BYTES = {"dense": [8 * COLUMNS], "csr": [8, 4 * NONZEROS, 8 * NONZEROS]}[options.kind]
rows = round(options.megabytes * 1e6 / sum(ROW_BYTES))
old, new = Distribution.by_weight(rows, options.old), Distribution.by_weight(rows, options.new)
plan = overlap_plan(old, new, rank)


@dataclass
class Method:
    """How rows are moved: ``prepare`` makes the filled blocks, ``move`` is timed and returns the new ones."""

    prepare: Callable[[], Any]
    move: Callable[[Any], Any]


def new_object() -> DistributedArray | DistributedCSR:
    space = RowSpace(rows, old, rank)
    if options.kind == "dense":
        array = DistributedArray("A", (rows, COLUMNS), space=space)
        array.local[:] = rank + 1
        return array
    matrix = DistributedCSR("A", (rows, 1_000_000), space=space)
    count = len(matrix.rows) * NONZEROS
    starts = np.arange(0, count + 1, NONZEROS)
    matrix.assign(starts, np.full(count, rank, dtype=np.int32), np.full(count, rank + 1.0))
    return matrix


def settled_csr() -> DistributedCSR:
    """Return a matrix that has moved before, so that its rows have their places."""
    matrix = new_object()
    assert isinstance(matrix, DistributedCSR)
    move_object(matrix, comm, old, new, rank)
    move_object(matrix, comm, new, old, rank)
    return matrix


def blocks() -> list[Bytes]:
    return [np.full(len(old.interval(rank)) * row_bytes, rank + 1, dtype=np.uint8) for row_bytes in ROW_BYTES]


def fresh_blocks() -> list[Bytes]:
    return [np.empty(len(new.interval(rank)) * row_bytes, dtype=np.uint8) for row_bytes in ROW_BYTES]


def cut(block: Bytes, held: range, part: range, row_bytes: int) -> Bytes:
    return block[(part.start - held.start) * row_bytes : (part.stop - held.start) * row_bytes]


def by_flexmpi(obj: DistributedArray | DistributedCSR) -> DistributedArray | DistributedCSR:
    move_object(obj, comm, old, new, rank)
    return obj


def by_alltoallv(held: list[Bytes]) -> list[Bytes]:
    targets = fresh_blocks()
    for block, target, row_bytes in zip(held, targets, ROW_BYTES, strict=True):
        layouts = []
        for peers, mine in ((new, old.interval(rank)), (old, new.interval(rank))):
            parts = [_overlap(peers.interval(peer), mine) for peer in range(comm.size)]
            starts = [max(0, part.start - mine.start) * row_bytes for part in parts]
            layouts.append(([len(part) * row_bytes for part in parts], starts))
        comm.Alltoallv([block, layouts[0], MPI.BYTE], [target, layouts[1], MPI.BYTE])
    return targets


def by_rma(held: list[Bytes]) -> list[Bytes]:
    targets = fresh_blocks()
    for block, target, row_bytes in zip(held, targets, ROW_BYTES, strict=True):
        window = MPI.Win.Create(block, comm=comm)
        window.Fence()
        for peer in range(comm.size):
            part = _overlap(old.interval(peer), new.interval(rank))
            if part:
                place = (part.start - old.interval(peer).start) * row_bytes
                window.Get(
                    cut(target, new.interval(rank), part, row_bytes), peer, [place, len(part) * row_bytes, MPI.BYTE]
                )
        window.Fence()
        window.Free()
    return targets


def by_pickle(held: list[Bytes]) -> list[Bytes]:
    targets = fresh_blocks()
    for block, target, row_bytes in zip(held, targets, ROW_BYTES, strict=True):
        requests = [comm.isend(cut(block, old.interval(rank), part, row_bytes), peer) for peer, part in plan.sends]
        if plan.keep:
            kept = cut(block, old.interval(rank), plan.keep, row_bytes)
            cut(target, new.interval(rank), plan.keep, row_bytes)[:] = kept
        for peer, part in plan.receives:
            cut(target, new.interval(rank), part, row_bytes)[:] = comm.recv(source=peer)
        MPI.Request.waitall(requests)
    return targets


def _overlap(one: range, other: range) -> range:
    start = max(one.start, other.start)
    return range(start, max(start, min(one.stop, other.stop)))


def timed(method: Method) -> tuple[float, int]:
    """Return the slowest rank's seconds, and the most memory that all ranks together had for old and new blocks, in bytes."""
    before = resident_bytes("VmRSS")
    held = method.prepare()
    Path("/proc/self/clear_refs").write_text("5")
    comm.Barrier()
    start = perf_counter()
    moved = method.move(held)
    seconds = comm.allreduce(perf_counter() - start, MPI.MAX)
    peak = comm.allreduce(resident_bytes("VmHWM") - before)
    del held, moved
    return seconds, peak


def memcpy_s(size_bytes: int) -> float:
    """Return the seconds one core takes to copy so much between blocks that have their memory, while the others wait."""
    seconds = 0.0
    if rank == 0:
        source, target = np.ones(size_bytes, dtype=np.uint8), np.ones(size_bytes, dtype=np.uint8)
        start = perf_counter()
        np.copyto(target, source)
        seconds = perf_counter() - start
    return float(comm.bcast(seconds))


def resident_bytes(name: str) -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in status if line.startswith(f"{name}:"))


methods = {
    "FlexMPI": Method(new_object, by_flexmpi),
    "Alltoallv": Method(blocks, by_alltoallv),
    "RMA (Get)": Method(blocks, by_rma),
    "pickle": Method(blocks, by_pickle),
}
if options.kind == "csr":
    methods = {"FlexMPI, moved before": Method(settled_csr, by_flexmpi), **methods}
sent = comm.allreduce(sum(len(part) for _, part in plan.sends)) * sum(ROW_BYTES)
times: dict[str, list[float]] = {name: [] for name in methods}
peaks: dict[str, list[float]] = {name: [] for name in methods}
copies = []
for turn in range(options.turns + 1):
    copied = memcpy_s(sent)
    for name, method in methods.items():
        seconds, peak = timed(method)
        # The first turn gets the machine its memory.
        if turn:
            times[name].append(seconds)
            peaks[name].append(peak / (rows * sum(ROW_BYTES)))
    if turn:
        copies.append(copied)
if rank == 0:
    print(json.dumps({"moved_bytes": sent, "memcpy_s": copies, "times_s": times, "peaks": peaks}))
