"""Which rank holds which rows, and which rows move when that changes.

Pure: numbers in, numbers out, exact integer arithmetic, so every rank that asks gets the same answer.
No MPI and no data here; ``redistribution`` moves the rows by these plans.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flexmpi.runtime.job.places import members_places

Weights = Sequence[float] | NDArray[Any]


@dataclass(frozen=True)
class Distribution:
    """A block distribution: rank ``p`` of ``size`` holds the global rows ``offsets[p]`` to ``offsets[p + 1]``.

    Parameters
    ----------
    offsets
        ``size + 1`` row numbers, from 0, never decreasing; the last is the number of rows.

    Raises
    ------
    ValueError
        If the offsets are not such a sequence.
    """

    offsets: tuple[int, ...]

    def __post_init__(self) -> None:
        offsets = self.offsets
        if len(offsets) < 2 or offsets[0] != 0 or any(low > high for low, high in pairwise(offsets)):
            raise ValueError(f"offsets must start at 0, never decrease and name one rank at least, got {offsets}")

    def __reduce__(self) -> tuple[type[Distribution], tuple[tuple[int, ...]]]:
        # Pickles the offsets alone, without the arrays cached beside them.
        return Distribution, (self.offsets,)

    @classmethod
    def from_counts(cls, counts: Iterable[int]) -> Distribution:
        """Make the distribution in which rank ``p`` holds ``counts[p]`` rows; ValueError if one is negative."""
        return cls(tuple(accumulate((int(count) for count in counts), initial=0)))

    @classmethod
    def by_weight(cls, rows: int, weights: Weights) -> Distribution:
        """Share rows in proportion to weights by the largest remainder (Hamilton's) method.

        Every count is within one row of the exact share ``rows * weight / sum(weights)``; a rank of weight zero gets
        none; of equal remainders the lower ranks get the extra row.

        Parameters
        ----------
        rows
            Number of global rows.
        weights
            One finite weight >= 0 for each rank, at least one of them positive.

        Raises
        ------
        ValueError
            If ``rows`` or a weight is negative, a weight is not finite, or none is positive.
        """
        if rows < 0:
            raise ValueError(f"rows must not be negative, got {rows}")
        whole = _whole_weights(weights)
        total = sum(whole)
        shares = [divmod(rows * weight, total) for weight in whole]
        counts = [share for share, _ in shares]
        # Fewer rows are left over than there are remainders above zero, so a rank of weight zero never gets one.
        by_remainder = sorted(range(len(shares)), key=lambda rank: -shares[rank][1])
        for rank in by_remainder[: rows - sum(counts)]:
            counts[rank] += 1
        return cls.from_counts(counts)

    @classmethod
    def by_cost(cls, row_costs: Sequence[float] | NDArray[Any], weights: Weights) -> Distribution:
        """Share rows so that the ranks' costs, not their row counts, are in proportion to the weights.

        The answer for somebody who has the costs of all rows; ``sharing.balanced_distribution`` gives the same
        one where each rank has only its own.

        Parameters
        ----------
        row_costs
            One finite cost >= 0 for each global row; if they are all zero the rows are shared by weight.
        weights
            As for `by_weight`, with its errors.
        """
        costs = np.asarray(row_costs)
        rows = len(costs)
        whole = whole_costs(costs, largest=float(costs.max(initial=0)), rows=rows)
        starts = np.concatenate([[0], np.cumsum(whole)])
        total = int(starts[-1])
        if total == 0:
            return cls.by_weight(rows, weights)
        cuts = cut_rows(starts, cost_before=0, targets=share_targets(total, weights))
        return cls((0, *cuts.tolist(), rows))

    @property
    def rows(self) -> int:
        """Number of global rows."""
        return self.offsets[-1]

    @property
    def size(self) -> int:
        """Number of ranks."""
        return len(self.offsets) - 1

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Rows of each rank, shape ``(size,)``, read-only."""
        counts = np.diff(self.offset_array)
        counts.flags.writeable = False
        return counts

    @cached_property
    def offset_array(self) -> NDArray[np.int64]:
        """The offsets as an array, shape ``(size + 1,)``, read-only."""
        offsets = np.array(self.offsets, dtype=np.int64)
        offsets.flags.writeable = False
        return offsets

    def interval(self, rank: int) -> range:
        """Return the global rows that ``rank`` holds."""
        return range(self.offsets[rank], self.offsets[rank + 1])


def expand_old(distribution: Distribution, newcomers: Sequence[int]) -> Distribution:
    """Put ranks that hold nothing yet at the places of ``newcomers``; ValueError if these are not places among all ranks."""
    size = distribution.size + len(newcomers)
    members = members_places(size, newcomers)
    if len(members) != distribution.size:
        raise ValueError(f"newcomers must have different places among {size} ranks, got {tuple(newcomers)}")
    counts = np.zeros(size, dtype=np.int64)
    counts[members] = distribution.counts
    return Distribution.from_counts(counts)


def drop_leavers(distribution: Distribution, leaving: Collection[int]) -> Distribution:
    """Take out the ranks that leave; ValueError if one still holds rows. The others close ranks and keep theirs."""
    holding = [rank for rank in leaving if distribution.interval(rank)]
    if holding:
        raise ValueError(f"ranks {holding} leave but still hold rows")
    return Distribution.from_counts(
        len(distribution.interval(rank)) for rank in range(distribution.size) if rank not in leaving
    )


@dataclass(frozen=True)
class OverlapPlan:
    """What one rank keeps, sends and receives, in global rows; a pair is (the other rank, the rows)."""

    keep: range
    sends: tuple[tuple[int, range], ...]
    receives: tuple[tuple[int, range], ...]


def overlap_plan(old: Distribution, new: Distribution, rank: int) -> OverlapPlan:
    """Plan the moves of one rank from ``old`` to ``new``; the plans of all ranks match.

    Takes O(log P) steps and one for each rank between the first and the last peer.

    Parameters
    ----------
    old, new
        Distributions of the same rows over the same ranks: those of the transition communicator, where newcomers hold
        no rows in ``old`` and leavers none in ``new``.
    rank
        The rank that asks.

    Raises
    ------
    ValueError
        If the distributions differ in rows or ranks.
    """
    if (old.rows, old.size) != (new.rows, new.size):
        raise ValueError(
            f"both distributions must have the same rows and ranks, got {old.rows} rows over {old.size} ranks "
            f"and {new.rows} over {new.size}"
        )
    sends = _owners(new, old.interval(rank))
    receives = _owners(old, new.interval(rank))
    return OverlapPlan(
        keep=sends.pop(rank, range(0)),
        sends=tuple(sends.items()),
        receives=tuple((owner, rows) for owner, rows in receives.items() if owner != rank),
    )


def whole_costs(row_costs: NDArray[Any], *, largest: float, rows: int) -> NDArray[np.int64]:
    """Turn costs into integers that can be added in any order, on any rank, with the same result.

    All are multiplied by one power of two, chosen so that the sum over all rows stays below 2**61, and rounded. So
    whole numbers stay in exact proportion while ``rows * largest`` is below 2**60, and a fractional cost is right to
    about ``rows * largest / 2**61``.

    Parameters
    ----------
    row_costs
        Finite costs >= 0 of some of the rows.
    largest
        The largest cost of *all* rows, 0 if there is none.
    rows
        The number of all rows.
    """
    if largest == 0:
        return np.zeros(len(row_costs), dtype=np.int64)
    shift = 61 - rows.bit_length() - math.frexp(largest)[1]
    return np.rint(np.ldexp(row_costs.astype(np.float64), shift)).astype(np.int64)


def share_targets(total_cost: int, weights: Weights) -> NDArray[np.int64]:
    """Return where the shares of the ranks end on the cost axis, for `cut_rows`.

    A row of cost ``c`` after rows of cost ``b`` has its midpoint at ``b + c / 2``; doubled, midpoints are integers, and
    they are compared with the doubled ends of the shares, rounded up, without any rounding of their own.

    Parameters
    ----------
    total_cost
        Sum of the `whole_costs` of all rows, below 2**61.
    weights
        As for `Distribution.by_weight`, with its errors.

    Returns
    -------
    numpy.ndarray
        Shape ``(size - 1,)``: a row belongs to a rank below the boundary if its doubled midpoint is less than this.
        Where only ranks of weight zero follow, it lies beyond the last row, for they must not get rows of cost zero.
    """
    whole = _whole_weights(weights)
    all_weight = sum(whole)
    return np.array(
        [
            -(-2 * total_cost * below // all_weight) if below < all_weight else 2 * total_cost + 1
            for below in accumulate(whole[:-1])
        ],
        dtype=np.int64,
    )


def cut_rows(row_starts: NDArray[np.int64], *, cost_before: int, targets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count the rows of a contiguous piece that lie below each boundary between ranks, in O(P log rows).

    Summed over all pieces the counts are the global row numbers of the boundaries, however the rows were cut up.

    Parameters
    ----------
    row_starts
        Where the cost of each row of this piece begins and that of the last one ends, from 0, shape ``(rows of the piece + 1,)``:
        added up `whole_costs`, or the ``indptr`` of a CSR matrix, whose costs are its non-zeros.
    cost_before
        Sum of the costs of all rows before this piece.
    targets
        From `share_targets`, for the sum of these costs.

    Returns
    -------
    numpy.ndarray
        The shape of ``targets``.
    """
    # The doubled midpoint of row i is starts[i] + starts[i + 1]. With j the first start that is not below half the target,
    # it reaches the target in row j, and not in row j - 2.
    wanted = targets - 2 * cost_before
    rows = len(row_starts) - 1
    found = np.searchsorted(row_starts, -(-wanted // 2), side="left")
    before = np.maximum(found - 1, 0)
    reached = row_starts[before] + row_starts[np.minimum(before + 1, rows)] >= wanted
    return np.minimum(np.where(reached, before, found), rows).astype(np.int64, copy=False)


def _owners(distribution: Distribution, rows: range) -> dict[int, range]:
    """Tell which ranks hold which of ``rows``, in the order of the rows."""
    owners: dict[int, range] = {}
    if not rows:
        return owners
    rank = bisect_right(distribution.offsets, rows.start) - 1
    while rank < distribution.size and distribution.offsets[rank] < rows.stop:
        held = distribution.interval(rank)
        if held:
            owners[rank] = range(max(held.start, rows.start), min(held.stop, rows.stop))
        rank += 1
    return owners


def _whole_weights(weights: Weights) -> list[int]:
    """Turn weights into integers in exactly the same proportions (every float is an integer over a power of two)."""
    values = np.asarray(weights, dtype=np.float64).tolist()
    if not all(math.isfinite(value) and value >= 0 for value in values) or not any(values):
        raise ValueError(f"weights must be finite, none negative and at least one positive, got {values}")
    ratios = [value.as_integer_ratio() for value in values]
    denominator = max(below for _, below in ratios)
    return [above * (denominator // below) for above, below in ratios]
