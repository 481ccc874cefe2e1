"""Copies between two ranks of one machine, made by both: one reads a part from the other's memory, the other writes the rest.

An MPI library has one of the two copy while the other waits for it; two cores copy up to twice as fast. Where the kernel does
not let them (or they are on different machines) the bytes go as ordinary messages.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from flexmpi.runtime.arrays import process_memory
from flexmpi.runtime.arrays.runs import Bytes, pieces

SMALLEST_BYTES = 4 << 20
"""Shorter messages are the MPI library's: to agree on two parts takes four small ones more."""
OFFER, TOLD = (1, 2), (3, 4)
"""Tags, each for what the sender and what the receiver of a run of bytes says of it."""


@dataclass
class _Transfer:
    """A run of bytes on its way between this rank and another one, and what each has said of it."""

    peer: int
    run: Bytes
    is_sent: bool
    mine: NDArray[np.int64]
    theirs: NDArray[np.int64] = field(default_factory=lambda: np.zeros(4, dtype=np.int64))
    failed: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, dtype=np.int64))
    they_failed: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, dtype=np.int64))

    def parts(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return which bytes the sender copies and which the receiver: who copies for more others copies less of each."""
        of_sender, of_receiver = (self.mine[3], self.theirs[3]) if self.is_sent else (self.theirs[3], self.mine[3])
        cut = int(self.run.nbytes * of_receiver // (of_sender + of_receiver))
        return (0, cut), (cut, self.run.nbytes)

    @property
    def possible(self) -> bool:
        """Whether each can reach the other's memory, as far as both know before they try."""
        return bool(self.mine[0] and self.mine[0] == self.theirs[0])

    def copy(self) -> None:
        """Copy this rank's part."""
        start, stop = self.parts()[0 if self.is_sent else 1]
        pid, address = int(self.theirs[1]), int(self.theirs[2])
        if not process_memory.copied(self.run[start:stop], pid, address + start, write=self.is_sent):
            _denied.add(pid)
            self.failed[0] = 1

    def left(self) -> list[Bytes]:
        """Return the parts that have to go as messages."""
        of_sender, of_receiver = self.parts()
        flags = (self.failed, self.they_failed) if self.is_sent else (self.they_failed, self.failed)
        if not self.possible:
            return [self.run]
        return [
            self.run[start:stop] for (start, stop), flag in zip((of_sender, of_receiver), flags, strict=True) if flag[0]
        ]


class CrossMemoryCopies:
    """The long messages of one rank to and from others, under way from the moment this is made until `finish`.

    Parameters
    ----------
    comm
        The communicator; all its ranks make such an object at the same time, and no other messages with these tags are under way.
    sends, receives
        Pairs of the other rank and the bytes, one for each other rank at most, equally long at both ends.
    """

    def __init__(
        self, comm: MPI.Intracomm, *, sends: Iterable[tuple[int, Bytes]], receives: Iterable[tuple[int, Bytes]]
    ) -> None:
        self._comm = comm
        runs = [*((*each, True) for each in sends), *((*each, False) for each in receives)]
        self._transfers = [
            _Transfer(
                peer,
                run,
                is_sent,
                np.array([_memory(), os.getpid(), process_memory.address_of(run), len(runs)], dtype=np.int64),
            )
            for peer, run, is_sent in runs
        ]
        self._offers = [
            comm.Irecv(transfer.theirs, transfer.peer, OFFER[transfer.is_sent]) for transfer in self._transfers
        ]
        self._told = [
            comm.Isend(transfer.mine, transfer.peer, OFFER[not transfer.is_sent]) for transfer in self._transfers
        ]

    def finish(self) -> None:
        """Copy, and wait until the others have."""
        comm, answers = self._comm, []
        for transfer, offer in zip(self._transfers, self._offers, strict=True):
            offer.Wait()
            if transfer.possible:
                transfer.copy()
                answers.append(comm.Irecv(transfer.they_failed, transfer.peer, TOLD[transfer.is_sent]))
                self._told.append(comm.Isend(transfer.failed, transfer.peer, TOLD[not transfer.is_sent]))
        MPI.Request.Waitall(answers)
        for transfer in self._transfers:
            send = comm.Isend if transfer.is_sent else comm.Irecv
            self._told += [send([piece, MPI.BYTE], transfer.peer) for part in transfer.left() for piece in pieces(part)]
        MPI.Request.Waitall(self._told)


_denied: set[int] = set()
"""Processes whose memory the kernel did not let this one reach; after one it is not tried again."""


def _memory() -> int:
    """Return by which number processes know each other, or 0 where this one reaches nobody's memory."""
    return 0 if not process_memory.possible() or _denied else process_memory.processes()
