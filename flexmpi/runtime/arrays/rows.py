"""Rows in a row space: what every distributed object has in common, and what a valid declaration is.

numpy only; the objects themselves are in ``dense`` and ``sparse``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import index
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from flexmpi.errors import UsageError
from flexmpi.runtime.arrays.distribution import Distribution
from flexmpi.runtime.arrays.reservation import MakeRoom, reserve

BYTES_OF_ROWS = (
    "give each row numbers, or bytes of a fixed length (dtype 'S64', or a structured one) made from its object"
)
"""What a program can do that has an object for each row; a state has those of rank 0 alone."""


@dataclass
class RowSpace:
    """The rows that all objects of one length share, so that ``A``, ``x`` and ``r`` always lie on the same ranks.

    Only the runtime sets these attributes.

    Attributes
    ----------
    rows
        Number of global rows.
    distribution
        Who holds which; None in a newcomer until it has joined: it holds no row then.
    rank
        This rank's place in the distribution.
    make_room
        Makes room for the objects' elements.
    is_taken
        Whether the rows are here; a successor takes them when its loop begins.
    """

    rows: int
    distribution: Distribution | None = None
    rank: int = 0
    make_room: MakeRoom = reserve
    is_taken: bool = True

    @property
    def interval(self) -> range:
        """The global rows this rank holds."""
        return range(0) if self.distribution is None else self.distribution.interval(self.rank)


class RowDistributed:
    """What dense and sparse objects have in common: a name, a shape, and rows in a row space.

    Attributes
    ----------
    name, shape, dtype
        As declared; the shape is the global one.
    constant
        The program does not change the data after its start, so it may move ahead of time.
    space
        The row space, shared with all objects of as many rows.
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
        self.name = name
        self.shape = valid_shape(name, shape)
        self.dtype = valid_dtype(name, dtype, instead=BYTES_OF_ROWS)
        self.constant = constant
        self.space = space
        if self.shape[0] != space.rows:
            raise UsageError(f"{name!r} has {self.shape[0]} rows, its row space has {space.rows}")

    @property
    def rows(self) -> range:
        """The global rows this rank holds; an empty range in a newcomer that has not joined yet."""
        return self.space.interval

    @property
    def counts(self) -> NDArray[np.int64]:
        """Rows of every rank, shape ``(ranks,)``, read-only; empty in a newcomer that has not joined yet."""
        distribution = self.space.distribution
        return np.empty(0, dtype=np.int64) if distribution is None else distribution.counts

    @property
    def offsets(self) -> NDArray[np.int64]:
        """First row of every rank and the number of rows at the end, shape ``(ranks + 1,)``, read-only."""
        distribution = self.space.distribution
        return np.zeros(1, dtype=np.int64) if distribution is None else distribution.offset_array

    def __repr__(self) -> str:
        held = f"rows {self.rows.start}:{self.rows.stop} here"
        return f"<{type(self).__name__} {self.name!r}: shape {self.shape}, {self.dtype}, {held}>"

    def described(self, kind: str) -> dict[str, Any]:
        """Describe what every kind declares; the start of its descriptor."""
        described = {"kind": kind, "name": self.name, "shape": list(self.shape), "dtype": str(self.dtype)}
        return {**described, "constant": self.constant}


def valid_shape(name: str, shape: int | Sequence[int]) -> tuple[int, ...]:
    """Return the shape as a tuple; UsageError if it is none or has no axis."""
    try:
        lengths = tuple(index(length) for length in (shape if isinstance(shape, Sequence) else (shape,)))
    except TypeError:
        raise UsageError(f"{name!r}: shape must be integers, got {shape!r}") from None
    if not lengths or any(length < 0 for length in lengths):
        raise UsageError(f"{name!r}: shape must have one axis at least and none negative, got {shape!r}")
    return lengths


def valid_dtype(name: str, dtype: DTypeLike, *, instead: str) -> np.dtype[Any]:
    """Return the numpy type; UsageError if it is none or holds Python objects.

    ``instead`` says what a program can do that wants objects.
    """
    try:
        valid = np.dtype(dtype)
    except TypeError:
        raise UsageError(f"{name!r}: dtype must be a numpy type, got {dtype!r}") from None
    if valid.hasobject:
        raise UsageError(f"{name!r}: {valid} holds Python objects, which cannot move between ranks; {instead}")
    return valid


def valid_costs(name: str, row_cost: ArrayLike, *, rows: int) -> NDArray[np.float64]:
    """Return costs of rows as an array of shape ``(rows,)``; UsageError if they are not such numbers."""
    try:
        costs = np.asarray(row_cost, dtype=np.float64)
    except (TypeError, ValueError):
        raise UsageError(f"{name!r}: row_cost must hold numbers, got {type(row_cost).__name__}") from None
    if costs.shape != (rows,):
        raise UsageError(f"{name!r}: row_cost must have shape {(rows,)}, got {costs.shape}")
    if not (np.isfinite(costs) & (costs >= 0)).all():
        raise UsageError(f"{name!r}: row_cost must be finite and not negative")
    return costs


def not_here(what: str) -> UsageError:
    """Return the error of a program that uses data before it is there."""
    return UsageError(
        f"{what} is not here yet: this world takes over from one that computes, and gets its data when its loop begins; "
        "fill data under `if flex.starting:`, and declare with constant=True what is needed before the loop"
    )


def same_block(present: NDArray[Any], given: NDArray[Any], *, where: str) -> None:
    """Let ``x.local += 1`` pass, which assigns the block to itself; UsageError for any other block."""
    if given is not present:
        raise UsageError(f"{where} cannot be replaced, write into it: {where}[...] = ...")
