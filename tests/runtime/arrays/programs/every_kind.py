"""Objects of every kind in one row space, and the truth about all their rows, to compare each rank's with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from flexmpi.runtime.arrays.dense import DistributedArray, DistributedCSR, RowSpace
from flexmpi.runtime.arrays.distribution import Distribution

rank = MPI.COMM_WORLD.rank

COLUMNS = 7
DENSE: dict[str, tuple[tuple[int, ...], Any]] = {
    "vector": ((), "f8"),
    "bytes": ((), "i1"),
    "flags": ((3,), "?"),
    "big_endian": ((2,), ">i4"),
    "complex": ((2, 3), "c16"),
    "record": ((2,), [("a", "f8"), ("b", "i2"), ("c", "S3")]),
    "text": ((), "U5"),
    "no_columns": ((0,), "f8"),
}
SPARSE = ("narrow", "mixed", "declared", "assigned")


@dataclass
class Truth:
    """All rows of everything, the same on every rank."""

    dense: dict[str, NDArray[Any]]
    starts: NDArray[np.int64]
    indices: NDArray[np.int64]
    data: NDArray[np.float64]
    costs: NDArray[np.float64]

    @classmethod
    def random(cls, rows: int, rng: np.random.Generator) -> Truth:
        dense = {}
        for name, (trailing, dtype) in DENSE.items():
            numbers = rng.integers(0, 100, size=(rows, *trailing))
            dense[name] = np.zeros(numbers.shape, dtype=dtype)
            for field in dense[name].dtype.names or (...,):
                dense[name][field] = numbers
        starts = np.concatenate([[0], np.cumsum(rng.choice([0, 0, 1, 5], size=rows))]).astype(np.int64)
        nonzeros = int(starts[-1])
        return cls(dense, starts, rng.integers(0, COLUMNS, nonzeros), rng.random(nonzeros), rng.random(rows))

    def csr(self, rows: range) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        held = slice(self.starts[rows.start], self.starts[rows.stop])
        return self.starts[rows.start : rows.stop + 1] - held.start, self.indices[held], self.data[held]

    def nonzeros(self, rows: range) -> int:
        return int(self.starts[rows.stop] - self.starts[rows.start])


class Objects:
    """One object of each kind in one row space, as a rank declares them (a newcomer has no distribution then)."""

    def __init__(self, truth: Truth, distribution: Distribution | None, *, place: int = rank, **of_space: Any) -> None:
        rows = len(truth.costs)
        self.truth, self.space = truth, RowSpace(rows, distribution, place, **of_space)
        self.dense = [
            DistributedArray(name, (rows, *trailing), space=self.space, dtype=dtype)
            for name, (trailing, dtype) in DENSE.items()
        ]
        self.sparse = [
            DistributedCSR(
                name, (rows, COLUMNS), space=self.space, row_cost=truth.costs if name == "declared" else None
            )
            for name in SPARSE
        ]

    def fill(self) -> None:
        held = self.space.interval
        for array in self.dense:
            array.local[...] = self.truth.dense[array.name][held.start : held.stop]
        indptr, indices, data = self.truth.csr(held)
        for matrix in self.sparse:
            # Ranks may differ in their index types, as scipy chooses them by the size of each part.
            narrow = matrix.name == "narrow" or (matrix.name == "mixed" and rank % 2)
            cost = self.truth.costs[held.start : held.stop].copy() if matrix.name == "assigned" else None
            matrix.assign(indptr, indices.astype(np.int32 if narrow else np.int64), data.copy(), row_cost=cost)

    def check(self) -> None:
        held = self.space.interval
        for array in self.dense:
            truth = self.truth.dense[array.name][held.start : held.stop]
            assert (array.rows, array.local.shape) == (held, truth.shape), array
            assert array.local.dtype == array.dtype == truth.dtype, array
            assert (array.local == truth).all(), array
            assert array.local.flags.writeable, array
        indptr, indices, data = self.truth.csr(held)
        for matrix in self.sparse:
            assert matrix.indptr.tolist() == indptr.tolist(), matrix
            assert matrix.indices.tolist() == indices.tolist(), matrix
            assert matrix.data.tolist() == data.tolist(), matrix
            assert matrix.name != "narrow" or not len(indices) or matrix.indices.dtype == np.int32, matrix
            if matrix.name in ("declared", "assigned") and held:
                assert matrix.row_cost is not None, matrix
                assert matrix.row_cost.tolist() == self.truth.costs[held.start : held.stop].tolist(), matrix

    def row_bytes(self, obj: DistributedArray | DistributedCSR, rows: range) -> set[int]:
        """Return what moving these rows takes; the indices of the mixed matrix are of one type or the other."""
        if isinstance(obj, DistributedArray):
            return {self.truth.dense[obj.name][rows.start : rows.stop].nbytes}
        words = 2 if obj.name in ("declared", "assigned") else 1
        index_bytes = {"narrow": {4}, "mixed": {4, 8}}.get(obj.name, {8})
        return {8 * words * len(rows) + (8 + each) * self.truth.nonzeros(rows) for each in index_bytes}
