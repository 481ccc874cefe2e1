"""Computes on a block of a node's file and on one of private memory, in turns, and sweeps over rows that were just mapped.

One process, no MPI. Prints a JSON line: the seconds of each turn, by what is computed and by the kind of memory.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flexmpi.runtime.arrays.node_memory import NodeRoom
from flexmpi.runtime.arrays.reservation import Reservation, Room

COLUMNS = 1024
Block = NDArray[np.float64]

parser = argparse.ArgumentParser()
parser.add_argument("--megabytes", type=float, required=True)
parser.add_argument("--turns", type=int, required=True)
options = parser.parse_args()

rows = round(options.megabytes * 1e6 / 8 / COLUMNS)
count = 2 * rows * COLUMNS
"""Of the whole array, of which this process has the second half: as a rank, whose part does not begin where the file does."""
file = os.memfd_create("rows")
os.ftruncate(file, 8 * count)
dtype: np.dtype[Any] = np.dtype(float)
rooms: dict[str, Room] = {
    "mapped": NodeRoom("rows", count, dtype, open_file=lambda key, size_bytes: os.dup(file)),
    "private": Reservation(count, dtype),
}
blocks: dict[str, Block] = {name: room.part(count // 2, count) for name, room in rooms.items()}
for block in blocks.values():
    block[:] = np.arange(len(block)) % 7
vector, result, few = np.ones(COLUMNS), np.empty(rows), np.empty(len(blocks["mapped"]) // 8)
places = np.random.default_rng(1).integers(0, len(blocks["mapped"]), len(few))


def matvec(block: Block) -> None:
    np.dot(block.reshape(rows, COLUMNS), vector, out=result)


def gather(block: Block) -> None:
    np.take(block, places, out=few, mode="clip")


def total(block: Block) -> None:
    np.add.reduce(block)


def scale(block: Block) -> None:
    np.multiply(block, 1.0, out=block)


def seconds(compute: Callable[[Block], None], block: Block) -> float:
    start = perf_counter()
    compute(block)
    return perf_counter() - start


KERNELS = {"matvec": matvec, "gather": gather, "sum": total, "scale": scale}
times: dict[str, dict[str, list[float]]] = {name: {kind: [] for kind in blocks} for name in KERNELS}
for name, kernel in KERNELS.items():
    for block in blocks.values():
        kernel(block)
    for turn in range(options.turns):
        for kind in list(blocks)[:: 1 if turn % 2 else -1]:
            times[name][kind].append(seconds(kernel, blocks[kind]))
sweeps: dict[str, list[float]] = {"first": [], "later": []}
for _ in range(options.turns):
    block = rooms["mapped"].part(count // 2, count)
    for each in sweeps:
        sweeps[each].append(seconds(total, block))
print(json.dumps({"times_s": times, "sweeps_s": sweeps, "block_bytes": blocks["mapped"].nbytes}))
