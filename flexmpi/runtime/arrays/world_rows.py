"""Where a world's rows lie, for each of its ranks: in its node's files (``node_rows``), or in its memory (``private_rows``).

Collective over one world: every rank calls the same functions in the same order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mpi4py import MPI

from flexmpi.runtime.arrays.dense import DistributedCSR
from flexmpi.runtime.arrays.known_matrices import KnownMatrices
from flexmpi.runtime.arrays.layout import Layout
from flexmpi.runtime.arrays.node_copies import NodeCopies
from flexmpi.runtime.arrays.node_memory import OpenFile
from flexmpi.runtime.arrays.nodes_files import NodesFiles
from flexmpi.runtime.arrays.parts import Rows
from flexmpi.runtime.arrays.reservation import Room


@dataclass(frozen=True)
class Passing:
    """By what the two worlds of a handover mean the same rows.

    Attributes
    ----------
    change
        The number of the change.
    ahead
        Whether these are the rows that never change, which pass while the predecessor computes.
    out_of_reach
        The predecessor's ranks whose memory the successor's on their nodes cannot read.
    """

    change: int
    ahead: bool
    out_of_reach: tuple[int, ...] = ()


class WorldRows(ABC):
    """One rank's rows, and its part in passing them to a successor and in taking them from a predecessor.

    Parameters
    ----------
    comm
        The ranks of its world.
    places
        The node of each.
    open_file
        Where the node's files come from.

    Attributes
    ----------
    known
        What is known of the sparse matrices.
    copies_are_mapped
        Whether what is the same on all ranks is, after a change, the node's one until it is written.
    offers_last
        Whether what was offered can be taken also when its rows have been shared anew among the ranks of this world.
    """

    copies_are_mapped: bool
    offers_last: bool

    def __init__(self, comm: MPI.Intracomm, places: Sequence[str], open_file: OpenFile) -> None:
        self._comm = comm
        self._files = NodesFiles(comm, places, open_file)
        self.known = KnownMatrices(comm)

    def copies(self, change: int) -> NodeCopies:
        """Return what is the same on all ranks, as it passes in a change."""
        return NodeCopies(self._files, change)

    @property
    def is_first_of_node(self) -> bool:
        """Whether no rank of a lower number is on this node."""
        return self._files.rank_of_node == self._comm.rank

    def on_all(self, act: Callable[[], object]) -> None:
        """Do what a node may have no room for; see `NodesFiles.on_all`."""
        self._files.on_all(act)

    @abstractmethod
    def room(self, key: str, count: int, dtype: np.dtype[Any]) -> Room:
        """Make room for an object's elements."""

    @abstractmethod
    def lay(self, matrices: Collection[DistributedCSR]) -> list[tuple[str, str]]:
        """See to sparse matrices that have been assigned since, each rank to its rows.

        Returns
        -------
        list of tuple
            The matrices' names with the keys of what they were before, which no rank of this world needs any more.
        """

    @abstractmethod
    def share(self, objects: Collection[Rows], held: Layout, wanted: Layout) -> None:
        """Share the rows of objects anew among the ranks of this world."""

    @abstractmethod
    def offer(self, objects: Collection[Rows], held: Layout, wanted: Layout, passing: Passing) -> int:
        """Have rows, as a rank of the predecessor, where a successor can take them; they stay as they are meanwhile.

        Returns
        -------
        int
            The bytes that this rank has taken in from other nodes.

        Raises
        ------
        MembershipError
            On every rank, if a node has no room for them.
        """

    @abstractmethod
    def take_back(self) -> None:
        """Forget what was offered: this world computes on. Not collective."""

    @abstractmethod
    def prepare(self, objects: Collection[Rows]) -> None:
        """Have ready, as a successor, what makes it quicker to take rows of objects. Not collective."""

    @abstractmethod
    def unreadable(self, passing: Passing) -> tuple[int, ...]:
        """Return, as a successor, the predecessor's ranks that have what is read from their memory, and cannot be."""

    @abstractmethod
    def bring(self, objects: Collection[Rows], held: Layout, wanted: Layout, passing: Passing) -> int:
        """Bring rows, as a rank of the successor, to the nodes where they are wanted; returns what `offer` does."""

    @abstractmethod
    def take(self, obj: Rows, rows: range, *, writeable: bool = True) -> int:
        """Have an object's rows, which were offered and brought, and return their size in bytes. Not collective."""

    @abstractmethod
    def kept(self, objects: Collection[object], held: Layout) -> Mapping[str, tuple[int, int]]:
        """Return which bytes of which files this node's ranks need, once they have what is the same on all."""
