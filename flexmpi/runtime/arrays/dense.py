"""The objects a program keeps its data in: dense arrays, sparse matrices, replicated arrays and small state.

numpy only: which rows a rank holds comes from ``distribution``, and ``redistribution`` moves the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from flexmpi.errors import UsageError
from flexmpi.runtime.arrays.reservation import Reservation
from flexmpi.runtime.arrays.rows import RowDistributed, RowSpace, same_block, valid_dtype, valid_shape
from flexmpi.runtime.arrays.sparse import DistributedCSR

__all__ = ["DistributedArray", "DistributedCSR", "ReplicatedArray", "RowDistributed", "RowSpace", "State"]


class DistributedArray(RowDistributed):
    """A dense array of any dimension, distributed by its first axis; zeros at the start.

    Parameters
    ----------
    name
        Names the object in messages.
    shape
        Global shape, one axis at least.
    space
        The row space of all objects with ``shape[0]`` rows.
    dtype
        Any numpy dtype that holds no Python objects.
    constant
        The program does not change the data after its start.

    Raises
    ------
    UsageError
        If the shape or the dtype is not such a one.
    """

    def __init__(
        self,
        name: str,
        shape: int | Sequence[int],
        *,
        space: RowSpace,
        dtype: DTypeLike = float,
        constant: bool = False,
    ) -> None:
        super().__init__(name, shape, space=space, dtype=dtype, constant=constant)
        self._row_elements = prod(self.shape[1:])
        self._room = Reservation(self.shape[0] * self._row_elements, self.dtype)
        self._local = self.block(self.rows)

    @property
    def local(self) -> NDArray[Any]:
        """The block of this rank, shape ``(len(rows), *shape[1:])``; the same array until rows move."""
        return self._local

    @local.setter
    def local(self, block: NDArray[Any]) -> None:
        same_block(self._local, block, where=f"{self.name!r}.local")

    @property
    def in_place(self) -> bool:
        """Whether rows that stay are in the next block already."""
        return self._room.in_place

    @property
    def row_bytes(self) -> int:
        """The size of a row."""
        return self._row_elements * self.dtype.itemsize

    def block(self, rows: range) -> NDArray[Any]:
        """Return memory for some rows, shape ``(len(rows), *shape[1:])``; only the runtime calls this."""
        part = self._room.part(rows.start * self._row_elements, rows.stop * self._row_elements)
        return part.reshape(len(rows), *self.shape[1:])

    def populate(self, rows: range) -> None:
        """Get the memory for rows that will come; only the runtime calls this."""
        self._room.populate(rows.start * self._row_elements, rows.stop * self._row_elements)

    def forget(self) -> None:
        """Give back the memory of rows that came, but do not belong here yet; only the runtime calls this."""
        self._keep_only(self.rows)

    def adopt(self, block: NDArray[Any], rows: range) -> None:
        """Take the block of a new distribution and give back the memory of all other rows; only the runtime calls this.

        The block before is read-only from now on.
        """
        self._local.flags.writeable = False
        self._local = block
        self._keep_only(rows)

    def _keep_only(self, rows: range) -> None:
        self._room.keep_only(rows.start * self._row_elements, rows.stop * self._row_elements)

    def descriptor(self) -> dict[str, Any]:
        """Describe the declaration in JSON values, to compare it with a newcomer's."""
        return self.described("array")


class ReplicatedArray:
    """The same array on every rank; zeros at the start, and newcomers receive it.

    Parameters
    ----------
    name, shape, dtype
        As for `DistributedArray`.

    Raises
    ------
    UsageError
        If the shape or the dtype is not such a one.
    """

    def __init__(self, name: str, shape: int | Sequence[int], *, dtype: DTypeLike = float) -> None:
        self.name = name
        self.shape = valid_shape(name, shape)
        self.dtype = valid_dtype(name, dtype, instead="use flex.state, for they are the same on every rank")
        self._local: NDArray[Any] = np.zeros(self.shape, dtype=self.dtype)

    @property
    def local(self) -> NDArray[Any]:
        """The whole array; always the same one."""
        return self._local

    @local.setter
    def local(self, block: NDArray[Any]) -> None:
        same_block(self._local, block, where=f"{self.name!r}.local")

    def __repr__(self) -> str:
        return f"<ReplicatedArray {self.name!r}: shape {self.shape}, {self.dtype}>"

    def descriptor(self) -> dict[str, Any]:
        """Describe the declaration in JSON values, to compare it with a newcomer's."""
        return {"kind": "replicated", "name": self.name, "shape": list(self.shape), "dtype": str(self.dtype)}


class State:
    """A few small Python values, the same on every rank, as attributes; newcomers receive them.

    Raises
    ------
    UsageError
        If a value is given a name that this class needs itself.
    """

    __slots__ = ("__dict__", "_declared")
    _declared: tuple[str, ...]

    def __init__(self, **values: Any) -> None:
        object.__setattr__(self, "_declared", tuple(sorted(values)))
        for name, value in values.items():
            setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(State, name):
            raise UsageError(f"a state cannot hold a value named {name!r}, choose another name")
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        known = ", ".join(sorted(vars(self))) or "nothing"
        raise AttributeError(f"this state has no value {name!r}; it holds {known}")

    def __repr__(self) -> str:
        return f"State({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"

    def descriptor(self) -> dict[str, Any]:
        """Describe the declaration in JSON values, to compare it with a newcomer's."""
        return {"kind": "state", "values": list(self._declared)}
