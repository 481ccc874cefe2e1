"""Constant rows move to the ranks that will hold them while the application still computes with the old ones.

They can, for every row has its place on every rank (see ``reservation``), so what arrives disturbs nothing. What moves is
agreed on when newcomers connect; it is adopted when they join.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from mpi4py import MPI

from flexmpi.runtime.arrays import DistributedArray
from flexmpi.runtime.decisions import Plan
from flexmpi.runtime.distribution import Distribution
from flexmpi.runtime.redistribution import pieces_to_move
from flexmpi.runtime.runs import Bytes

SMALLEST_BYTES = 32 << 20
"""Constant data from this size on moves ahead; less is not worth a second stall."""
PIECE_BYTES = 4 << 20
"""Long rows' messages are cut so small that taking one in holds up an iteration for a millisecond at most."""
POLL_S = 1e-3
"""How often a newcomer, which has nothing else to do, looks after its messages."""


class MoveAhead:
    """One rank's part in a move beside the computation.

    Parameters
    ----------
    bridge
        The communicator of all old and new owners.
    objects
        What moves, each with its old and new distribution over the ranks of ``bridge``; the same on every rank.
    at_once
        The most messages this rank takes in between two iterations.
    """

    def __init__(
        self,
        bridge: MPI.Intracomm,
        objects: Iterable[tuple[DistributedArray, Distribution, Distribution]],
        *,
        at_once: int,
    ) -> None:
        self.received_bytes = 0
        self._bridge = bridge
        self._moves: dict[str, tuple[Distribution, Distribution]] = {}
        self._expected: deque[tuple[int, Bytes]] = deque()
        self._requests: list[MPI.Request] = []
        self._receiving: list[MPI.Request] = []
        self._at_once = at_once
        for obj, old, new in objects:
            self._moves[obj.name] = old, new
            sends, receives = pieces_to_move(obj, old, new, bridge.rank, limit_bytes=PIECE_BYTES)
            self._expected.extend(receives)
            self.received_bytes += sum(piece.nbytes for _, piece in receives)
            for peer, piece in sends:
                self._requests.append(bridge.Isend([piece, MPI.BYTE], dest=peer))

    def covers(self, obj: DistributedArray, old: Distribution, new: Distribution) -> bool:
        """Whether an object's rows have moved from ``old`` to ``new``; another move makes them worth nothing."""
        return self._moves.get(obj.name) == (old, new)

    def progress(self) -> bool:
        """Let messages go on, without waiting; True when all have arrived."""
        if MPI.Request.Testall(self._receiving):
            self._receiving = []
            self._expect(self._at_once)
        return MPI.Request.Testall(self._requests) and not self._receiving

    def finish(self) -> None:
        """Wait until all have arrived."""
        MPI.Request.Waitall(self._receiving)
        self._receiving = []
        self._expect(len(self._expected))
        MPI.Request.Waitall(self._receiving + self._requests)

    def _expect(self, count: int) -> None:
        for _ in range(min(count, len(self._expected))):
            peer, piece = self._expected.popleft()
            self._receiving.append(self._bridge.Irecv([piece, MPI.BYTE], source=peer))


class Linked:
    """What a rank has between the two steps of a reconfiguration: newcomers are connected, but do not take part yet.

    Attributes
    ----------
    plan
        What was agreed on.
    bridge
        The communicator of the present ranks and the newcomers.
    stall_s
        What this rank waited in the first step.
    """

    def __init__(self, plan: Plan, bridge: MPI.Intracomm, move: MoveAhead, *, stall_s: float) -> None:
        self.plan, self.bridge, self.move, self.stall_s = plan, bridge, move, stall_s
        self.moving = True

    def progress(self) -> bool:
        """Let rows go on; True when this rank's have just arrived."""
        self.moving = self.moving and not self.move.progress()
        return not self.moving

    def part(self) -> None:
        """Give the second step up; collective over the bridge."""
        self.move.finish()
        self.bridge.Disconnect()
