"""What the programs about reconfiguration compute between changes, and how they tell what a change made them feel."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from time import perf_counter

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from benchmarks.timelines import NEIGHBOURS

COLUMNS = 1024
ROW_BYTES = 8 * COLUMNS
WORK_S = 2e-3

_vector = np.ones(4096)


def parser() -> argparse.ArgumentParser:
    """Return a parser of the options that all of them have."""
    made = argparse.ArgumentParser()
    made.add_argument("--megabytes", type=float, required=True)
    return made


def rows_of(megabytes: float) -> int:
    """Return how many rows make up an array of this size."""
    return max(4, round(megabytes * 1e6 / ROW_BYTES))


def calibrate() -> int:
    """Return how many pieces of work take `WORK_S`."""
    best = 1.0
    for _ in range(20):
        start = perf_counter()
        for _ in range(100):
            _vector.dot(_vector)
        best = min(best, (perf_counter() - start) / 100)
    return max(1, round(WORK_S / best))


def work(pieces: int, comm: MPI.Comm) -> None:
    """Compute one iteration, the same on every rank, and wait for the others as iterative programs do."""
    for _ in range(pieces):
        _vector.dot(_vector)
    comm.allreduce(1)


def felt(begins: Sequence[float], changes: Sequence[int]) -> list[float]:
    """Return what each change made the program feel: the longest iteration around it, less a normal one, in s.

    Parameters
    ----------
    begins
        When each iteration began.
    changes
        Before which iterations ranks came or went.
    """
    lengths = np.diff(begins)
    normal = float(np.median(lengths))
    return [float(lengths[max(0, at - NEIGHBOURS) : at + NEIGHBOURS].max()) - normal for at in changes]


def longest(begins: Sequence[float]) -> float:
    """Return the longest iteration, less a normal one, in s."""
    lengths = np.diff(begins)
    return float(lengths.max() - np.median(lengths))


def fill(block: NDArray[np.float64], first_row: int) -> None:
    """Give each row its number."""
    block[:] = np.arange(first_row, first_row + len(block))[:, None]


def check(block: NDArray[np.float64], first_row: int) -> None:
    """Raise if a row is not in its place."""
    if not (block[:, ::ROW_BYTES] == np.arange(first_row, first_row + len(block))[:, None]).all():
        raise RuntimeError("rows were lost")
