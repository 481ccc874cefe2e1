"""Brings the rows that stay on a rank to their place in its next block in several ways, in turns; prints a JSON line.

One process, no MPI. A block is a stretch of a whole array; what lies in the old and in the new stretch stays. All ways begin
with a filled old block, and end with a new one that holds what stays, without the memory of what has gone.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import mmap
import os
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flexmpi.runtime.arrays.reservation import Reservation

Bytes = NDArray[np.uint8]
Block = tuple[Bytes, Any]
"""The bytes, and what holds their memory."""

PAGE, HUGE_PAGE = mmap.PAGESIZE, 1 << 21
MREMAP_MAYMOVE, MREMAP_FIXED = 1, 2
FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE = 1, 2

parser = argparse.ArgumentParser()
parser.add_argument("--old", type=float, nargs=2, required=True, help="where the block begins and ends, in MB")
parser.add_argument("--new", type=float, nargs=2, required=True, help="and the next one")
parser.add_argument("--row-bytes", type=int, default=8 * 1000)
parser.add_argument("--turns", type=int, required=True)
options = parser.parse_args()


def whole_rows(megabytes: list[float]) -> range:
    """Return the bytes of the rows nearest to a stretch."""
    start, stop = (round(each * 1e6 / options.row_bytes) * options.row_bytes for each in megabytes)
    return range(start, stop)


old, new = whole_rows(options.old), whole_rows(options.new)
kept = range(max(old.start, new.start), min(old.stop, new.stop))
total = max(old.stop, new.stop)
libc = ctypes.CDLL(None, use_errno=True)
libc.mremap.restype = ctypes.c_void_p
libc.mremap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p]
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]


def stay(block: Bytes, held: range) -> Bytes:
    """Return what stays of a block."""
    return block[kept.start - held.start : kept.stop - held.start]


class Mapping:
    """Anonymous memory for a block, at an address that is as far from a huge page's begin as the block from the array's."""

    def __init__(self, held: range) -> None:
        self._map = mmap.mmap(-1, len(held) + 2 * HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._map.madvise(mmap.MADV_HUGEPAGE)
        whole = np.frombuffer(self._map, dtype=np.uint8)
        offset = (held.start - int(whole.ctypes.data)) % HUGE_PAGE
        self.bytes = whole[offset : offset + len(held)]


class SharedMapping:
    """A stretch of a file in memory."""

    def __init__(self, file: int, held: range) -> None:
        first = held.start // PAGE * PAGE
        self.file = file
        self._map = mmap.mmap(file, held.stop - first, offset=first)
        self.bytes = np.frombuffer(self._map, dtype=np.uint8)[held.start - first :]


def copied() -> Block:
    return np.ones(len(old), dtype=np.uint8), None


def copy(block: Block) -> Block:
    target = np.empty(len(new), dtype=np.uint8)
    stay(target, new)[:] = stay(block[0], old)
    return target, None


def reserved() -> Block:
    room = Reservation(total, np.dtype(np.uint8))
    block = room.part(old.start, old.stop)
    block[:] = 1
    return block, room


def stay_in_room(block: Block) -> Block:
    room = block[1]
    part = room.part(new.start, new.stop)
    room.keep_only(new.start, new.stop)
    return part, room


def mapped() -> Block:
    mapping = Mapping(old)
    mapping.bytes[:] = 1
    return mapping.bytes, mapping


def remap(block: Block) -> Block:
    """Move whole pages by the page table, and copy what lies on the two pages at the ends."""
    target = Mapping(new)
    source, destination = stay(block[0], old), stay(target.bytes, new)
    head = -int(source.ctypes.data) % PAGE
    body = (len(kept) - head) // PAGE * PAGE
    moved = libc.mremap(
        source.ctypes.data + head, body, body, MREMAP_MAYMOVE | MREMAP_FIXED, destination.ctypes.data + head
    )
    if moved != destination.ctypes.data + head:
        raise OSError(ctypes.get_errno(), "mremap")
    destination[:head] = source[:head]
    destination[head + body :] = source[head + body :]
    return target.bytes, target


def shared() -> Block:
    file = os.memfd_create("rows")
    os.ftruncate(file, total)
    mapping = SharedMapping(file, old)
    mapping.bytes[:] = 1
    return mapping.bytes, mapping


def map_again(block: Block) -> Block:
    """Map another stretch of the same file, and give back the memory of what is not in it."""
    file = block[1].file
    target = SharedMapping(file, new)
    for start, stop in ((old.start, min(new.start, old.stop)), (max(new.stop, old.start), old.stop)):
        if start < stop and libc.fallocate(file, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, start, stop - start):
            raise OSError(ctypes.get_errno(), "fallocate")
    return target.bytes, target


def resident_bytes(name: str) -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in status if line.startswith(f"{name}:"))


def timed(make: Callable[[], Block], move: Callable[[Block], Block]) -> tuple[float, float, float]:
    """Return the seconds to the new block and those of a first look at all its pages, and the most memory, in bytes."""
    before = resident_bytes("VmRSS")
    block = make()
    Path("/proc/self/clear_refs").write_text("5")
    start = perf_counter()
    block = move(block)
    moved = perf_counter()
    seen = int(stay(block[0], new)[::PAGE].sum())
    looked = perf_counter()
    if seen != -(-len(kept) // PAGE):
        raise RuntimeError("rows were lost")
    peak = resident_bytes("VmHWM") - before
    if isinstance(block[1], SharedMapping):
        os.close(block[1].file)
    return moved - start, looked - moved, peak


ways = {
    "plain copy": (copied, copy),
    "spare room": (reserved, stay_in_room),
    "remapping (mremap)": (mapped, remap),
    "remapping (shared memory)": (shared, map_again),
}
figures: dict[str, list[tuple[float, float, float]]] = {way: [] for way in ways}
for turn in range(options.turns + 1):
    for way, (make, move) in ways.items():
        measured = timed(make, move)
        # The first turn gets the machine its memory.
        if turn:
            figures[way].append(measured)
print(json.dumps({"kept_bytes": len(kept), "figures": figures}))
