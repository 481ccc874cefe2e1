"""Constant rows move to the ranks that will hold them while the application still computes with the old ones.

They can, for every row has its place on every rank (see ``reservation``), so what arrives disturbs nothing. What moves is
agreed on in the first of two steps, when newcomers connect; it is adopted in the second, when they join and leavers leave.
What each object's rows need is in ``ahead_parts``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from time import perf_counter

import numpy as np
from mpi4py import MPI

from flexmpi.runtime.arrays.dense import DistributedArray, DistributedCSR
from flexmpi.runtime.arrays.distribution import Distribution
from flexmpi.runtime.arrays.registry import Registry
from flexmpi.runtime.arrays.runs import Bytes, pieces
from flexmpi.runtime.joining.ahead_parts import Incoming, Part, csr_part, dense_part
from flexmpi.runtime.joining.plan import Plan

SMALLEST_BYTES = 32 << 20
"""Constant data from this size on moves ahead; less is not worth a second stall."""
PIECE_BYTES = 4 << 20
"""Messages are cut so small that taking one in holds up an iteration for a millisecond or two; to begin many takes long, too."""
COPY_BYTES = 1 << 20
"""Copies of what was here before are cut smaller: new memory is found page by page then."""
TAKE_IN_S = 1e-3
"""As soon as an iteration has been held up for so long, no more pieces are taken in before it."""
POLL_S = 1e-3
"""How often a newcomer, which has nothing else to do, looks after its messages."""


class MoveAhead:
    """One rank's part in a move beside the computation.

    Parameters
    ----------
    bridge
        The communicator of all old and new owners.
    parts
        This rank's parts in what moves: of the same objects in the same order on every rank.
    at_once
        How many pieces this rank takes in before it looks at the time: all, where it has nothing else to do.
    """

    def __init__(self, bridge: MPI.Intracomm, parts: Iterable[Part], *, at_once: int) -> None:
        self.received_bytes = 0
        self._bridge = bridge
        self._parts = {part.obj.name: part for part in parts}
        self._expected: deque[Incoming] = deque()
        self._outgoing: list[tuple[int, Bytes]] = []
        self._requests: list[MPI.Request] = []
        self._receiving: list[MPI.Request] = []
        self._received: list[Incoming] = []
        self._at_once = at_once
        limit_bytes, copied_bytes = (max(8, size // 8 * 8) for size in (PIECE_BYTES, COPY_BYTES))
        for part in self._parts.values():
            for coming in part.incoming:
                self._expected.extend(coming.pieces(limit_bytes if isinstance(coming.source, int) else copied_bytes))
                self.received_bytes += coming.target.nbytes if isinstance(coming.source, int) else 0
            for peer, run in part.sends:
                self._outgoing += [(peer, piece) for piece in pieces(run, limit_bytes)]

    def populate(self) -> None:
        """Get the memory for what is to come, as a rank that has nothing else to do; rows that come meanwhile wait."""
        for part in self._parts.values():
            part.populate()

    def take(self, obj: DistributedArray | DistributedCSR, old: Distribution, new: Distribution) -> bool:
        """Give an object the rows that have come, if they are those of a move from ``old`` to ``new``; else they are dropped."""
        part = self._parts.pop(obj.name, None)
        if part is not None and (part.old, part.new) == (old, new):
            part.adopt()
            return True
        if part is not None:
            part.obj.forget()
        return False

    def drop_outdated(self) -> None:
        """Drop what has come of objects to which the program has assigned other arrays since, on any rank; collective."""
        replaceable = [part for part in self._parts.values() if isinstance(part.obj, DistributedCSR)]
        if replaceable:
            current = np.array([part.current for part in replaceable], dtype=np.int64)
            self._bridge.Allreduce(MPI.IN_PLACE, current, op=MPI.MIN)
            self._drop(part for part, kept in zip(replaceable, current, strict=True) if not kept)

    def progress(self) -> bool:
        """Let messages go on, without waiting; True when all have arrived."""
        self._send()
        end, enough = perf_counter() + TAKE_IN_S, False
        while not enough and MPI.Request.Testall(self._receiving):
            self._arrived()
            self._take_in(self._at_once)
            enough = not self._expected or perf_counter() > end
        return MPI.Request.Testall(self._requests) and not self._receiving and not self._expected

    def finish(self) -> None:
        """Wait until all have arrived."""
        self._send()
        MPI.Request.Waitall(self._receiving)
        self._arrived()
        self._take_in(len(self._expected))
        MPI.Request.Waitall(self._receiving + self._requests)
        self._arrived()

    def drop(self) -> None:
        """Give back the memory of all that has come; nothing may be on its way."""
        self._drop(list(self._parts.values()))

    def _drop(self, parts: Iterable[Part]) -> None:
        for part in list(parts):
            del self._parts[part.obj.name]
            part.obj.forget()

    def _send(self) -> None:
        """Begin to send; not in the step in which ranks agree on the move, which is long enough."""
        self._requests += [self._bridge.Isend([piece, MPI.BYTE], dest=peer) for peer, piece in self._outgoing]
        self._outgoing = []

    def _take_in(self, count: int) -> None:
        for _ in range(min(count, len(self._expected))):
            piece = self._expected.popleft()
            if isinstance(piece.source, int):
                self._receiving.append(self._bridge.Irecv([piece.target, MPI.BYTE], source=piece.source))
                self._received.append(piece)
            else:
                piece.target[:] = piece.source
                piece.arrived()

    def _arrived(self) -> None:
        for piece in self._received:
            piece.arrived()
        self._receiving, self._received = [], []


def move_ahead(
    comm: MPI.Intracomm, plan: Plan, registry: Registry, distributions: dict[int, Distribution]
) -> MoveAhead:
    """Begin to move constant rows to where they belong after a plan, beside the computation; collective.

    Parameters
    ----------
    comm
        All old and new owners.
    distributions
        Who holds the rows of each row space now; newcomers have been told.
    """
    parts = [
        dense_part(move.obj, move.old, move.new, comm.rank)
        if isinstance(move.obj, DistributedArray)
        else csr_part(move.obj, comm, move.old, move.new)
        for move in registry.constant_moves(comm, plan.weights, distributions, newcomers=plan.newcomers)
    ]
    possible = np.array([part.possible for part in parts], dtype=np.int64)
    comm.Allreduce(MPI.IN_PLACE, possible, op=MPI.MIN)
    moving = [part for part, everywhere in zip(parts, possible, strict=True) if everywhere]
    return MoveAhead(comm, moving, at_once=1 << 30 if comm.rank in plan.newcomers else 1)


class Linked:
    """What a rank has between the two steps of a reconfiguration: newcomers, if any, are connected, but do not take part yet.

    Attributes
    ----------
    plan
        What was agreed on.
    bridge
        A communicator of the present ranks and the newcomers.
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
        self.move.drop()
        self.bridge.Disconnect()
