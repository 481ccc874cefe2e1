"""The distributed sparse matrix of a program.

numpy only: ``redistribution`` moves the data. No arithmetic: a program uses the three arrays as it likes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from flexmpi.errors import UsageError
from flexmpi.runtime.arrays.reservation import Room
from flexmpi.runtime.arrays.rows import RowDistributed, RowSpace, not_here, same_block, valid_costs

Rooms = tuple[Room, Room]
"""Where the indices and the values of all ranks have their places."""


class DistributedCSR(RowDistributed):
    """A sparse matrix in compressed sparse row form, distributed by rows; without non-zeros at the start.

    Parameters
    ----------
    name
        Names the object in messages.
    shape
        Global shape ``(rows, columns)``.
    space
        The row space of all objects with ``shape[0]`` rows.
    dtype
        Of the values.
    balance
        ``"nonzeros"``: rows are shared by the non-zeros they hold (or by ``row_cost``); ``"rows"``: by their number.
    row_cost
        A cost >= 0 for every *global* row, shape ``(rows,)``; only the part of the local rows is kept.
    constant
        The program does not change the data after its start.

    Raises
    ------
    UsageError
        If an argument is not such a one.
    """

    def __init__(
        self,
        name: str,
        shape: Sequence[int],
        *,
        space: RowSpace,
        dtype: DTypeLike = float,
        balance: Literal["nonzeros", "rows"] = "nonzeros",
        row_cost: ArrayLike | None = None,
        constant: bool = False,
    ) -> None:
        super().__init__(name, shape, space=space, dtype=dtype, constant=constant)
        if len(self.shape) != 2:
            raise UsageError(f"{name!r}: a CSR matrix has the shape (rows, columns), got {self.shape}")
        if balance not in ("nonzeros", "rows"):
            raise UsageError(f"{name!r}: balance must be 'nonzeros' or 'rows', got {balance!r}")
        self.balance = balance
        self._check_balance(row_cost)
        self._declared_cost = row_cost is not None
        self._row_cost: NDArray[np.float64] | None = None
        if row_cost is not None:
            # A copy of the slice, so that the vector of all rows can go.
            costs = valid_costs(name, row_cost, rows=self.shape[0])
            self._row_cost = costs[self.rows.start : self.rows.stop].copy()
        self._indptr = np.zeros(len(self.rows) + 1, dtype=np.int64)
        self._indices: NDArray[Any] = np.empty(0, dtype=np.int64)
        self._data: NDArray[Any] = np.empty(0, dtype=self.dtype)
        self._rooms: Rooms | None = None
        self._first = 0
        self._filled = 0
        self._is_taken = space.is_taken

    def _check_taken(self) -> None:
        if not self._is_taken:
            raise not_here(f"{self.name!r}")

    @property
    def indptr(self) -> NDArray[np.int64]:
        """Where each local row starts in `indices` and `data`, shape ``(len(rows) + 1,)``, from 0."""
        self._check_taken()
        return self._indptr

    @property
    def indices(self) -> NDArray[Any]:
        """Global column of each local non-zero; int32 or int64 as assigned (int64 if ranks differ and rows move)."""
        self._check_taken()
        return self._indices

    @property
    def data(self) -> NDArray[Any]:
        """Value of each local non-zero."""
        self._check_taken()
        return self._data

    @data.setter
    def data(self, block: NDArray[Any]) -> None:
        same_block(self._data, block, where=f"{self.name!r}.data")

    @property
    def local_bytes(self) -> int:
        """The size of the local rows."""
        return self._indptr.nbytes + self._indices.nbytes + self._data.nbytes

    def assign(
        self, indptr: ArrayLike, indices: ArrayLike, data: ArrayLike, *, row_cost: ArrayLike | None = None
    ) -> None:
        """Set the local rows; arrays of the right type are taken as they are, without a copy.

        Parameters
        ----------
        indptr
            Shape ``(len(rows) + 1,)``, from 0, never decreasing.
        indices
            Global columns, shape ``(indptr[-1],)``; int32 stays int32, other integers become int64.
        data
            Values, shape ``(indptr[-1],)``, of a type that numpy converts to the declared one in the same kind.
        row_cost
            A cost >= 0 for each *local* row, given by all ranks that hold rows or by none; None leaves it as it was.

        Raises
        ------
        UsageError
            If they are not such arrays. The matrix is unchanged then.
        """
        self._check_taken()
        starts, columns, values = np.asarray(indptr), np.asarray(indices), np.asarray(data)
        self._check_starts(starts)
        self._check_columns(columns, count=int(starts[-1]))
        if values.shape != columns.shape:
            raise UsageError(f"{self.name!r}: data must have shape {columns.shape} like indices, got {values.shape}")
        if not np.can_cast(values.dtype, self.dtype, casting="same_kind"):
            raise UsageError(f"{self.name!r}: data must be {self.dtype} as declared, got {values.dtype}")
        if row_cost is not None:
            self._check_balance(row_cost)
            self._row_cost = valid_costs(self.name, row_cost, rows=len(self.rows))
        index_type = np.int32 if columns.dtype == np.int32 else np.int64
        self._indptr = np.ascontiguousarray(starts, dtype=np.int64)
        self._indices = np.ascontiguousarray(columns, dtype=index_type)
        self._data = np.ascontiguousarray(values, dtype=self.dtype)
        self._rooms = None
        self._filled += 1

    @property
    def filled(self) -> int:
        """How often it was assigned on this rank."""
        return self._filled

    def row_costs(self) -> NDArray[Any] | None:
        """Return the costs of the local rows for the balance, shape ``(len(rows),)``; None if only their number counts.

        They are the ``row_cost`` where there is one, else the number of non-zeros of each row (int64).
        """
        if self.balance == "rows":
            return None
        return np.diff(self._indptr) if self._row_cost is None else self._row_cost

    @property
    def row_cost(self) -> NDArray[np.float64] | None:
        """The declared or assigned cost of each local row, shape ``(len(rows),)``, if there is one."""
        return self._row_cost

    def rooms(self, count: int, index_type: np.dtype[Any], *, first: int) -> tuple[Rooms, bool]:
        """Return room for the indices and values of all ranks, and whether the local ones lie there; for the runtime only.

        They do unless some were assigned since rows last moved.

        Parameters
        ----------
        count, index_type
            Of all ranks together.
        first
            Which of all non-zeros is the first one here.
        """
        if self._rooms is not None and self._first == first:
            indices, values = self._rooms
            if (indices.count, indices.dtype) == (count, index_type):
                return self._rooms, indices.in_place and values.in_place
        make = self.space.make_room
        return (make(self.key("indices"), count, index_type), make(self.key("data"), count, self.dtype)), False

    def key(self, part: str) -> str:
        """Return what a part of it is called; for the runtime only."""
        return f"csr:{self.name}:{part}"

    def adopt(
        self,
        indptr: NDArray[np.int64],
        indices: NDArray[Any],
        data: NDArray[Any],
        *,
        row_cost: NDArray[np.float64] | None,
        rooms: Rooms,
        first: int,
    ) -> None:
        """Take the rows of a new distribution, whose non-zeros lie in ``rooms`` from ``first`` on; for the runtime only.

        The arrays before are read-only from now on.
        """
        for block in (self._indptr, self._indices, self._data, self._row_cost):
            if block is not None:
                block.flags.writeable = False
        self._indptr, self._indices, self._data, self._row_cost = indptr, indices, data, row_cost
        self._rooms, self._first, self._is_taken = rooms, first, True
        self.forget()

    def open_to_writing(self, is_open: bool = True) -> None:
        """Let the program write what is here, or only read it; for the runtime only."""
        for block in (self.indptr, self.indices, self.data):
            block.flags.writeable = is_open

    def populate(self, rows: range) -> None:
        """Do nothing: how many non-zeros will come is not known before they come."""

    def forget(self) -> None:
        """Give back the memory of rows that came, but do not belong here; for the runtime only."""
        for room in self._rooms or ():
            room.keep_only(self._first, self._first + len(self._data))

    def descriptor(self) -> dict[str, Any]:
        """Describe the declaration in JSON values, to compare it with a newcomer's."""
        return {**self.described("csr"), "balance": self.balance, "row_cost": self._declared_cost}

    def _check_starts(self, starts: NDArray[Any]) -> None:
        wanted = (len(self.rows) + 1,)
        if starts.shape != wanted or starts.dtype.kind not in "iu":
            raise UsageError(
                f"{self.name!r}: indptr must hold {wanted[0]} integers for {len(self.rows)} local rows, "
                f"got shape {starts.shape}, {starts.dtype}"
            )
        if starts[0] != 0 or (starts[1:] < starts[:-1]).any():
            raise UsageError(f"{self.name!r}: indptr must start at 0 and never decrease")

    def _check_columns(self, columns: NDArray[Any], *, count: int) -> None:
        # An empty list is float64 to numpy; it names no column.
        if columns.shape != (count,) or (count and columns.dtype.kind not in "iu"):
            raise UsageError(
                f"{self.name!r}: indices must hold {count} integers as indptr says, "
                f"got shape {columns.shape}, {columns.dtype}"
            )
        if count and not (columns.min() >= 0 and columns.max() < self.shape[1]):
            raise UsageError(
                f"{self.name!r}: indices must lie in 0..{self.shape[1] - 1}, "
                f"got {int(columns.min())}..{int(columns.max())}"
            )

    def _check_balance(self, row_cost: ArrayLike | None) -> None:
        if row_cost is not None and self.balance == "rows":
            raise UsageError(f"{self.name!r}: row_cost has no meaning with balance='rows'")
