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
from flexmpi.runtime.arrays.rows import RowDistributed, RowSpace, not_here, same_block, valid_dtype, valid_shape
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

    Attributes
    ----------
    row_elements
        The number of elements in a row.

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
        self.row_elements = prod(self.shape[1:])
        self._room = space.make_room(self.key, self.shape[0] * self.row_elements, self.dtype)
        self._local: NDArray[Any] | None = self.block(self.rows) if space.is_taken else None

    @property
    def local(self) -> NDArray[Any]:
        """The block of this rank, shape ``(len(rows), *shape[1:])``; the same array until rows move."""
        if self._local is None:
            raise not_here(f"{self.name!r}.local")
        return self._local

    @local.setter
    def local(self, block: NDArray[Any]) -> None:
        same_block(self.local, block, where=f"{self.name!r}.local")

    @property
    def key(self) -> str:
        """What its elements are called where all ranks' have their places; for the runtime only."""
        return f"array:{self.name}"

    @property
    def in_place(self) -> bool:
        """Whether rows that stay are in the next block already."""
        return self._room.in_place

    @property
    def row_bytes(self) -> int:
        """The size of a row."""
        return self.row_elements * self.dtype.itemsize

    def block(self, rows: range) -> NDArray[Any]:
        """Return memory for some rows, shape ``(len(rows), *shape[1:])``; only the runtime calls this."""
        part = self._room.part(rows.start * self.row_elements, rows.stop * self.row_elements)
        return part.reshape(len(rows), *self.shape[1:])

    def populate(self, rows: range) -> None:
        """Get the memory for rows that will come; only the runtime calls this."""
        self._room.populate(rows.start * self.row_elements, rows.stop * self.row_elements)

    def forget(self) -> None:
        """Give back the memory of rows that came, but do not belong here yet; only the runtime calls this."""
        self._keep_only(self.rows)

    def adopt(self, block: NDArray[Any], rows: range) -> None:
        """Take the block of a new distribution and give back the memory of all other rows; only the runtime calls this.

        The block before is read-only from now on.
        """
        if self._local is not None:
            self._local.flags.writeable = False
        self._local = block
        self._keep_only(rows)

    def open_to_writing(self, is_open: bool = True) -> None:
        """Let the program write what is here, or only read it; only the runtime calls this."""
        self.local.flags.writeable = is_open

    def _keep_only(self, rows: range) -> None:
        self._room.keep_only(rows.start * self.row_elements, rows.stop * self.row_elements)

    def descriptor(self) -> dict[str, Any]:
        """Describe the declaration in JSON values, to compare it with a newcomer's."""
        return self.described("array")


class ReplicatedArray:
    """The same array on every rank; zeros at the start, and new ranks receive it.

    Parameters
    ----------
    name, shape, dtype
        As for `DistributedArray`.
    is_taken
        Whether its data is here; a successor takes it when its loop begins.

    Raises
    ------
    UsageError
        If the shape or the dtype is not such a one.
    """

    def __init__(
        self, name: str, shape: int | Sequence[int], *, dtype: DTypeLike = float, is_taken: bool = True
    ) -> None:
        self.name = name
        self.shape = valid_shape(name, shape)
        self.dtype = valid_dtype(name, dtype, instead="use flex.state, for they are the same on every rank")
        self._local: NDArray[Any] | None = np.zeros(self.shape, dtype=self.dtype) if is_taken else None

    @property
    def local(self) -> NDArray[Any]:
        """The whole array; always the same one."""
        if self._local is None:
            raise not_here(f"{self.name!r}.local")
        return self._local

    @local.setter
    def local(self, block: NDArray[Any]) -> None:
        same_block(self.local, block, where=f"{self.name!r}.local")

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        return prod(self.shape) * self.dtype.itemsize

    def adopt(self, array: NDArray[Any]) -> None:
        """Take the array that the predecessor has had; only the runtime calls this."""
        self._local = array

    def __repr__(self) -> str:
        return f"<ReplicatedArray {self.name!r}: shape {self.shape}, {self.dtype}>"

    def descriptor(self) -> dict[str, Any]:
        """Describe the declaration in JSON values, to compare it with a newcomer's."""
        return {"kind": "replicated", "name": self.name, "shape": list(self.shape), "dtype": str(self.dtype)}


class State:
    """A few small Python values, the same on every rank, as attributes; new ranks receive them.

    Raises
    ------
    UsageError
        If a value is given a name that this class needs itself.
    """

    __slots__ = ("__dict__", "_declared", "_is_taken")
    _declared: tuple[str, ...]
    _is_taken: bool

    def __init__(self, **values: Any) -> None:
        object.__setattr__(self, "_declared", tuple(sorted(values)))
        object.__setattr__(self, "_is_taken", True)
        for name, value in values.items():
            setattr(self, name, value)

    def await_values(self) -> None:
        """Have no value until `adopt` brings those of the predecessor; only the runtime calls this."""
        vars(self).clear()
        object.__setattr__(self, "_is_taken", False)

    def adopt(self, values: dict[str, Any]) -> None:
        """Take the values of the predecessor; only the runtime calls this."""
        object.__setattr__(self, "_is_taken", True)
        vars(self).clear()
        vars(self).update(values)

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(State, name):
            raise UsageError(f"a state cannot hold a value named {name!r}, choose another name")
        if not self._is_taken:
            raise not_here(f"the state's {name}")
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        if not self._is_taken:
            raise not_here(f"the state's {name}")
        known = ", ".join(sorted(vars(self))) or "nothing"
        raise AttributeError(f"this state has no value {name!r}; it holds {known}")

    def __repr__(self) -> str:
        return f"State({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"

    def descriptor(self) -> dict[str, Any]:
        """Describe the declaration in JSON values, to compare it with a newcomer's."""
        return {"kind": "state", "values": list(self._declared)}
