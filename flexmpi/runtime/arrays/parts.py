"""What objects consist of: bytes by a key, each at its place among those of all ranks, wherever a rank's own ones lie.

Pure but for the arrays that are described. A sparse matrix has three parts, and a fourth where its rows have costs; where a row's
non-zeros lie is told by where they start, counted over all ranks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flexmpi.protocol.handover import MatrixFacts
from flexmpi.runtime.arrays.dense import DistributedArray, DistributedCSR
from flexmpi.runtime.arrays.runs import Bytes, bytes_of

Rows = DistributedArray | DistributedCSR


def with_rows(objects: Iterable[object]) -> list[Rows]:
    """Return those of some objects that have rows."""
    return [each for each in objects if isinstance(each, DistributedArray | DistributedCSR)]


@dataclass(frozen=True)
class Stretch:
    """Bytes of all those with some key, of which there are so many."""

    key: str
    size_bytes: int
    start: int
    stop: int


@dataclass(frozen=True)
class Part:
    """The elements of all ranks by one key: their number and type."""

    key: str
    count: int
    dtype: np.dtype[Any]

    def stretch(self, start: int, stop: int) -> Stretch:
        """Return where some elements have their place."""
        return Stretch(self.key, *(each * self.dtype.itemsize for each in (self.count, start, stop)))


def elements(array: DistributedArray) -> Part:
    """Return what a dense array consists of."""
    return Part(array.key, array.shape[0] * array.row_elements, array.dtype)


def starts(matrix: DistributedCSR, facts: MatrixFacts) -> Part:
    """Return where the first non-zero of each row is kept, and behind the last row their number."""
    return Part(_key(matrix, facts, "starts"), matrix.shape[0] + 1, np.dtype(np.int64))


def costs(matrix: DistributedCSR, facts: MatrixFacts) -> Part:
    """Return the costs of rows."""
    return Part(_key(matrix, facts, "costs"), matrix.shape[0], np.dtype(np.float64))


def nonzeros(matrix: DistributedCSR, facts: MatrixFacts) -> tuple[Part, Part]:
    """Return the columns and the values of non-zeros."""
    index_type = np.dtype(np.int32 if facts.index_bytes == 4 else np.int64)
    return (
        Part(_key(matrix, facts, "indices"), facts.nonzeros, index_type),
        Part(_key(matrix, facts, "data"), facts.nonzeros, matrix.dtype),
    )


def all_keys(matrix: DistributedCSR, facts: MatrixFacts) -> list[str]:
    """Return the keys of all parts that a matrix may have."""
    return [_key(matrix, facts, part) for part in ("starts", "costs", "indices", "data")]


def _key(matrix: DistributedCSR, facts: MatrixFacts, part: str) -> str:
    return matrix.key(f"{facts.assigned}:{part}")


def by_rows(obj: Rows, facts: MatrixFacts | None, rows: range) -> list[Stretch]:
    """Say where those bytes of rows have their place that the rows' numbers tell; of a sparse matrix the facts are known."""
    if isinstance(obj, DistributedArray):
        size = obj.row_elements
        return [elements(obj).stretch(rows.start * size, rows.stop * size)]
    assert facts is not None
    found = [starts(obj, facts).stretch(rows.start, rows.stop + 1)]
    if facts.has_costs:
        found.append(costs(obj, facts).stretch(rows.start, rows.stop))
    return found


def by_nonzeros(obj: Rows, facts: MatrixFacts | None, first: int, last: int) -> list[Stretch]:
    """Say where the non-zeros from ``first`` to ``last`` have their place; a dense array has none."""
    if isinstance(obj, DistributedArray):
        return []
    assert facts is not None
    return [part.stretch(first, last) for part in nonzeros(obj, facts)]


@dataclass(frozen=True)
class HeldPart:
    """The bytes that a rank holds of a stretch's key: the stretch, and where they are now."""

    place: Stretch
    values: Bytes


def held_parts(obj: Rows, facts: MatrixFacts | None, *, first: int) -> list[HeldPart]:
    """Return what a rank holds of an object.

    Parameters
    ----------
    facts, first
        Of a sparse matrix: what all ranks know of it, and which of all non-zeros is the first one here.
    """
    rows = obj.rows
    if not rows:
        return []
    if isinstance(obj, DistributedArray):
        return [HeldPart(by_rows(obj, None, rows)[0], bytes_of(obj.local))]
    assert facts is not None
    columns, values = nonzeros(obj, facts)
    here: list[tuple[Part, int, NDArray[Any]]] = [
        (starts(obj, facts), rows.start, obj.indptr + first),
        (columns, first, obj.indices.astype(columns.dtype, copy=False)),
        (values, first, obj.data),
    ]
    if facts.has_costs:
        assert obj.row_cost is not None
        here.append((costs(obj, facts), rows.start, obj.row_cost))
    return [HeldPart(part.stretch(start, start + len(array)), bytes_of(array)) for part, start, array in here]
