"""Sparse matrices for the examples: a Matrix Market reader, a model problem, and the product with a vector.

numpy only, no MPI: whoever calls says which rows it wants. ``plain/sparse_matrix.py`` is a link to this file.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Protocol, TextIO

import numpy as np
from numpy.typing import NDArray

BANNER = "%%MatrixMarket matrix coordinate real|integer|pattern general|symmetric"
LINES_AT_ONCE = 100_000  # bounds the memory that text takes


class Csr(Protocol):
    """Rows in compressed sparse row form: row ``i`` has the entries ``indptr[i]`` to ``indptr[i + 1]``."""

    @property
    def indptr(self) -> NDArray[Any]: ...
    @property
    def indices(self) -> NDArray[Any]: ...
    @property
    def data(self) -> NDArray[Any]: ...


class CsrRows(NamedTuple):
    """Some rows of a matrix: ``indptr`` from 0, of shape (rows + 1,); ``indices`` are global columns."""

    indptr: NDArray[np.int64]
    indices: NDArray[np.int64]
    data: NDArray[np.float64]


def multiply(A: Csr, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return A x for the rows in ``A`` and a whole vector ``x``."""
    y = np.zeros(len(A.indptr) - 1)
    filled = np.flatnonzero(np.diff(A.indptr))  # for an empty row, reduceat would give the next row's first product
    y[filled] = np.add.reduceat(A.data * x[A.indices], A.indptr[filled])
    return y


def poisson_rows(grid: int, rows: range) -> CsrRows:
    """Return rows of the five-point Laplacian (4 and -1) on ``grid`` x ``grid`` points, zero around them."""
    points = np.arange(rows.start, rows.stop, dtype=np.int64)
    y, x = points // grid, points % grid
    inside = np.stack([y > 0, x > 0, points >= 0, x < grid - 1, y < grid - 1], axis=1)
    columns = points[:, None] + np.array([-grid, -1, 0, 1, grid])
    values = np.broadcast_to([-1.0, -1.0, 4.0, -1.0, -1.0], columns.shape)
    return CsrRows(_starts(inside.sum(axis=1)), columns[inside], values[inside])


def matrix_market_order(path: Path) -> int:
    """Return the number of rows of the square matrix in a Matrix Market file; ValueError as `matrix_market_rows`."""
    with path.open(encoding="latin-1") as file:
        return _Header(path, file).order


def matrix_market_rows(path: Path, rows: range) -> CsrRows:
    """Read some rows of a square matrix from a Matrix Market file.

    The format is that of https://math.nist.gov/MatrixMarket/formats.html: ``coordinate``, ``real``, ``integer`` or
    ``pattern`` (every value is 1), ``general`` or ``symmetric``; a symmetric file has one triangle, the lower or the upper.
    Repeated entries stay apart; a product adds them up.

    Parameters
    ----------
    path
        The file; it is read once, and only the entries of ``rows`` are kept.
    rows
        The global rows wanted, from 0.

    Raises
    ------
    ValueError
        The file is not such a matrix; the message names file and line.
    """
    with path.open(encoding="latin-1") as file:
        header = _Header(path, file)
        parts = [_select(entries, rows, header) for entries in header.entries()]
    row, column, value = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.lexsort((column, row))
    return CsrRows(_starts(np.bincount(row - rows.start, minlength=len(rows))), column[order], value[order])


class _Header:
    """The first lines of a Matrix Market file, and the way to the entries after them."""

    def __init__(self, path: Path, file: TextIO) -> None:
        self.path = path
        words = file.readline(200).lower().split()
        known = [choice.split("|") for choice in BANNER.lower().split()]
        if len(words) != len(known) or any(word not in choices for word, choices in zip(words, known, strict=True)):
            self.refuse(1, f"expected '{BANNER}', got '{' '.join(words)}'")
        self.width = 2 if words[3] == "pattern" else 3
        self.symmetric = words[4] == "symmetric"
        self._sides: dict[int, int] = {}  # the first line with an entry below (-1) or above (1) the diagonal
        self._lines = ((number, text) for number, text in enumerate(file, start=2) if text.strip() and text[0] != "%")
        number, text = next(self._lines, (2, ""))
        sizes = text.split()
        if len(sizes) != 3 or not all(size.isdecimal() and len(size) < 19 for size in sizes):
            self.refuse(number, f"expected the numbers of rows, columns and entries, got {text.strip()!r}")
        self.order, columns, self.count = map(int, sizes)
        if self.order != columns or self.order == 0:
            self.refuse(number, f"expected a square matrix, got {self.order} x {columns}")

    def refuse(self, line: int, what: str) -> NoReturn:
        raise ValueError(f"{self.path}, line {line}: {what}")

    def entries(self) -> Iterator[NDArray[np.float64]]:
        """Yield blocks of entries, shape (entries, 2 or 3): row and column from 1, and the value."""
        missing = self.count
        last = 2
        while lines := list(islice(self._lines, LINES_AT_ONCE)):
            if len(lines) > missing:
                self.refuse(lines[missing][0], f"expected {self.count} entries and no more")
            missing -= len(lines)
            last = lines[-1][0]
            block = self._numbers(lines)
            if self.symmetric:
                self._check_sides(block, [number for number, _ in lines])
            yield block
        if missing:
            self.refuse(last, f"the file ends after {self.count - missing} entries, expected {self.count}")
        if not self.count:
            yield np.empty((0, self.width))

    def _numbers(self, lines: list[tuple[int, str]]) -> NDArray[np.float64]:
        try:
            block = np.loadtxt([text for _, text in lines], comments=None, ndmin=2)
        except ValueError:
            block = np.empty((0, 0))
        return block if self._valid(block) else np.concatenate([self._one_by_one(*line) for line in lines])

    def _check_sides(self, block: NDArray[np.float64], numbers: list[int]) -> None:
        """Refuse a file that has both triangles: mirrored, each entry would be there twice."""
        sides = np.sign(block[:, 1] - block[:, 0])
        for side in (-1, 1):
            if (found := np.flatnonzero(sides == side)).size:
                self._sides.setdefault(side, numbers[found[0]])
        if len(self._sides) == 2:
            first, second = sorted(self._sides.values())
            where = "above" if self._sides[1] == second else "below"
            what = f"a symmetric file has one triangle, got an entry {where} the diagonal"
            self.refuse(second, f"{what} after one on the other side in line {first}")

    def _valid(self, block: NDArray[np.float64]) -> bool:
        place = block[:, :2]
        whole = bool(np.isfinite(block).all()) and bool((place == np.floor(place)).all())
        return block.shape[1] == self.width and whole and bool(((place >= 1) & (place <= self.order)).all())

    def _one_by_one(self, number: int, text: str) -> NDArray[np.float64]:
        try:
            entry = np.array([text.split()], dtype=float)
        except ValueError:
            entry = np.empty((0, 0))
        if not self._valid(entry):
            value = " and a number" if self.width == 3 else ""
            self.refuse(number, f"expected a row and a column from 1 to {self.order}{value}, got {text.strip()!r}")
        return entry


def _select(
    entries: NDArray[np.float64], rows: range, header: _Header
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    row, column = (entries[:, :2].T - 1).astype(np.int64)
    value = entries[:, 2] if header.width == 3 else np.ones(len(entries))
    if header.symmetric:  # the file has one triangle
        mirrored = row != column
        row, column = np.concatenate([row, column[mirrored]]), np.concatenate([column, row[mirrored]])
        value = np.concatenate([value, value[mirrored]])
    wanted = (row >= rows.start) & (row < rows.stop)
    return row[wanted], column[wanted], value[wanted]


def _starts(counts: NDArray[Any]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
