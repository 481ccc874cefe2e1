"""Rows that change nodes: bytes of a file of one node that go into the same place of another node's file, by MPI.

Collective over one world, every rank of which knows all moves. What a node sends, or takes in, is shared among its ranks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from mpi4py import MPI

from flexmpi.runtime.arrays.parts import Stretch
from flexmpi.runtime.arrays.runs import Bytes, pieces
from flexmpi.runtime.arrays.sources import Move

PIECE_BYTES = 1 << 26
"""Longer stretches are shared among the ranks of a node."""
AT_ONCE = 4
"""Stretches that a rank sends at the same time."""


@dataclass(frozen=True)
class Transfer:
    """A stretch that one rank sends from its node's file, and another takes into its own node's."""

    stretch: Stretch
    source: int
    target: int


def transfers(
    moves: Iterable[Move], places: Sequence[str], rank: int, stretches: Callable[[range], Sequence[Stretch]]
) -> list[Transfer]:
    """Return a rank's part in some moves, each stretch of which is given to a rank of either node, turn by turn.

    Parameters
    ----------
    moves
        Which rows go from which node to which.
    places
        The node of each rank.
    rank
        Whose part.
    stretches
        Where some rows lie; asked on the two nodes between which they move.
    """
    here = {place: [number for number, where in enumerate(places) if where == place] for place in places}
    found: list[Transfer] = []
    for move in moves:
        if places[rank] not in (move.source, move.target):
            continue
        parts = [part for stretch in stretches(move.rows) for part in _parts(stretch)]
        sources, targets = here[move.source], here[move.target]
        for turn, part in enumerate(parts):
            transfer = Transfer(part, sources[turn % len(sources)], targets[turn % len(targets)])
            if rank in (transfer.source, transfer.target):
                found.append(transfer)
    return found


def _parts(stretch: Stretch) -> Iterable[Stretch]:
    for start in range(stretch.start, stretch.stop, PIECE_BYTES):
        yield replace(stretch, start=start, stop=min(stretch.stop, start + PIECE_BYTES))


def carry_out(
    wanted: Sequence[Transfer],
    comm: MPI.Intracomm,
    *,
    room_for: Callable[[Stretch], Bytes],
    read: Callable[[Stretch], Bytes],
) -> int:
    """Carry out one rank's transfers, as all ranks do theirs.

    Parameters
    ----------
    room_for
        Returns where a stretch that comes is to lie on this node.
    read
        Returns a stretch that goes; it may be a copy, of which there are only a few at once.

    Returns
    -------
    int
        The bytes that this rank has taken in.
    """
    coming = [(room_for(each.stretch), each.source) for each in wanted if each.target == comm.rank]
    receives = [comm.Irecv([piece, MPI.BYTE], source) for memory, source in coming for piece in pieces(memory)]
    going: deque[MPI.Request] = deque()
    for transfer in wanted:
        if transfer.source == comm.rank:
            for piece in pieces(read(transfer.stretch)):
                # What is sent stays where it is for as long as its request.
                going.append(comm.Isend([piece, MPI.BYTE], transfer.target))
            while len(going) > AT_ONCE:
                going.popleft().Wait()
    MPI.Request.Waitall([*going, *receives])
    return sum(memory.nbytes for memory, _ in coming)
