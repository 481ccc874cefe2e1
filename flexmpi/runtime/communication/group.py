"""The ranks that one rank computes with."""

from __future__ import annotations

from dataclasses import dataclass, field

from mpi4py import MPI

from flexmpi.runtime.communication.communicator import Communicators, free, watched


@dataclass
class Group:
    """The ranks of an application (or of newcomers on their way): two communicators over the same ranks.

    Attributes
    ----------
    control
        The runtime's own, so that its messages never meet the program's.
    comm
        The program's.
    derived
        What the program has made from it, which lives as long. What it makes from topology communicators is its own to free.
    """

    control: MPI.Intracomm
    comm: MPI.Intracomm
    derived: Communicators = field(default_factory=list)

    @classmethod
    def of(cls, control: MPI.Intracomm) -> Group:
        """Make a group of a communicator; collective."""
        comm = control.Dup()
        return cls(control, comm, watched(comm))

    @classmethod
    def nobody(cls) -> Group:
        """Return what a rank has that belongs to no group any more: null communicators."""
        return cls(MPI.Intracomm(), MPI.Intracomm())

    def part(self) -> None:
        """Free what the program has made from its communicator, then part from that; collective."""
        free(self.derived)
        self.comm.Disconnect()

    def disconnect(self) -> None:
        """Part from all ranks of the group; collective, and it waits for messages still under way."""
        self.part()
        self.control.Disconnect()
