"""Ranks find out together who is to hold which rows: by weights and, where rows differ in cost, by what each knows of its own.

Collective; the arithmetic is in ``distribution``, and ``redistribution`` moves the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np
from mpi4py import MPI

from flexmpi.runtime.arrays.distribution import Distribution, Weights, cut_rows, share_targets, whole_costs
from flexmpi.runtime.arrays.sparse import DistributedCSR


def balanced_distribution(
    space_rows: int, weights: Weights, cost_object: DistributedCSR | None, comm: MPI.Intracomm, old: Distribution
) -> Distribution:
    """Share the rows of a row space by weights and, where there is one, by an object's row costs; collective.

    Every rank looks at the costs of its own rows only and adds O(P) numbers; the answer is that of
    `Distribution.by_cost` for the costs of all rows. Where non-zeros are the costs, not even each of these is looked at.

    Parameters
    ----------
    space_rows
        Number of global rows.
    weights
        One for each rank of ``comm``, the same on all ranks; 0 for leavers.
    cost_object
        Whose `row_costs` count (the same object on all ranks); None shares by the number of rows.
    comm
        The transition communicator.
    old
        The distribution of the object's rows over its ranks.

    Raises
    ------
    ValueError
        As `Distribution.by_weight`.
    """
    (found,) = balanced_distributions(space_rows, [weights], cost_object, comm, old)
    return found


def balanced_distributions(
    space_rows: int,
    choices: Sequence[Weights],
    cost_object: DistributedCSR | None,
    comm: MPI.Intracomm,
    old: Distribution,
) -> list[Distribution]:
    """Share the rows of a row space as `balanced_distribution` does, by each of several weights; collective.

    Weights may be of more ranks than those of ``comm``: whoever holds no row has none to tell the cost of.
    """
    if cost_object is None or cost_object.balance == "rows":
        return [Distribution.by_weight(space_rows, weights) for weights in choices]
    rows = len(old.interval(comm.rank))
    starts = cost_object.indptr[: rows + 1]
    everybody = np.empty((comm.size, 2), dtype=np.int64)
    comm.Allgather(np.array([starts[-1], bool(rows) and cost_object.row_cost is not None]), everybody)
    if not everybody[:, 1].any():
        cost_of_rank = everybody[:, 0]
    else:
        row_costs = cost_object.row_costs()
        assert row_costs is not None
        largest = comm.allreduce(float(row_costs[:rows].max(initial=0)), op=MPI.MAX)
        costs = whole_costs(row_costs[:rows], largest=largest, rows=space_rows)
        starts = np.concatenate([[0], np.cumsum(costs)])
        cost_of_rank = np.empty(comm.size, dtype=np.int64)
        comm.Allgather(starts[-1:], cost_of_rank)
    total, before = int(cost_of_rank.sum()), int(cost_of_rank[: comm.rank].sum())
    if total == 0:
        return [Distribution.by_weight(space_rows, weights) for weights in choices]
    targets = [share_targets(total, weights) for weights in choices]
    cuts = cut_rows(starts, cost_before=before, targets=np.concatenate(targets))
    comm.Allreduce(MPI.IN_PLACE, cuts, op=MPI.SUM)
    ends = accumulate(map(len, targets), initial=0)
    return [Distribution((0, *cuts[start:stop].tolist(), space_rows)) for start, stop in pairwise(ends)]
