"""What all ranks of a world know of its sparse matrices: found out together, or told by the predecessor."""

from __future__ import annotations

from collections.abc import Collection

from mpi4py import MPI

from flexmpi.errors import UsageError
from flexmpi.protocol.handover import MatrixFacts
from flexmpi.runtime.arrays.dense import DistributedCSR
from flexmpi.runtime.arrays.redistribution import agree_on_csr


class KnownMatrices:
    """One rank's book of the sparse matrices.

    Parameters
    ----------
    comm
        The ranks of its world.
    """

    def __init__(self, comm: MPI.Intracomm) -> None:
        self._comm = comm
        self._facts: dict[str, MatrixFacts] = {}
        self._filled: dict[str, int] = {}
        self._firsts: dict[str, int] = {}

    def learn(self, matrices: Collection[MatrixFacts]) -> None:
        """Take in what the predecessor knows."""
        self._facts.update({each.name: each for each in matrices})

    def facts(self, obj: object) -> MatrixFacts | None:
        """Return what is known of an object, if it is a sparse matrix of which something is."""
        return self._facts.get(obj.name) if isinstance(obj, DistributedCSR) else None

    def all_facts(self, objects: Collection[object]) -> tuple[MatrixFacts, ...]:
        """Return what is known of the sparse matrices among these objects."""
        return tuple(found for each in objects if (found := self.facts(each)) is not None)

    def first(self, obj: object) -> int:
        """Return which of all ranks' non-zeros is the first one here; of what has none 0."""
        return self._firsts[obj.name] if isinstance(obj, DistributedCSR) else 0

    def agree(self, matrices: Collection[DistributedCSR]) -> list[DistributedCSR]:
        """Find out what there is to know of matrices that have been assigned since, and return these; collective.

        Raises
        ------
        UsageError
            Only some of the ranks that hold rows have costs of them.
        """
        changed = self.out_of_date(matrices)
        for matrix in changed:
            agreed = agree_on_csr(matrix, self._comm, holds_rows=bool(matrix.rows))
            if agreed.costs_lack:
                raise UsageError(
                    f"{matrix.name!r}: row_cost was assigned by some ranks only, expected by all that hold rows"
                )
            before = self._facts.get(matrix.name)
            self._facts[matrix.name] = MatrixFacts(
                matrix.name,
                assigned=1 if before is None else before.assigned + 1,
                nonzeros=agreed.nonzeros,
                index_bytes=agreed.index_type.itemsize,
                has_costs=agreed.costs_move,
            )
            self.note(matrix, first=int(agreed.counts[: self._comm.rank].sum()))
        return changed

    def out_of_date(self, matrices: Collection[DistributedCSR]) -> list[DistributedCSR]:
        """Return those of some matrices that have been assigned on any rank since they were agreed on; collective."""
        return [each for each in matrices if self._comm.allreduce(self._is_new(each), op=MPI.LOR)]

    def _is_new(self, matrix: DistributedCSR) -> bool:
        return matrix.name not in self._facts or matrix.filled != self._filled.get(matrix.name)

    def note(self, matrix: DistributedCSR, *, first: int) -> None:
        """Note that a matrix is as it is known, and where this rank's non-zeros begin."""
        self._filled[matrix.name], self._firsts[matrix.name] = matrix.filled, first

    def forget(self, matrix: DistributedCSR) -> None:
        """Have a matrix be agreed on anew, for its rows are elsewhere."""
        self._filled.pop(matrix.name, None)
