"""The ranks that one rank computes with."""

from __future__ import annotations

from dataclasses import dataclass

from mpi4py import MPI

from flexmpi.runtime.communication.calls import Clock
from flexmpi.runtime.communication.communicator import TimedCommunicator, timed


@dataclass
class Group:
    """The ranks of an application (or of newcomers on their way): two communicators over the same ranks.

    Attributes
    ----------
    control
        The runtime's own, so that its messages never meet the program's.
    comm
        The program's.
    """

    control: MPI.Intracomm
    comm: TimedCommunicator

    @classmethod
    def of(cls, control: MPI.Intracomm, clock: Clock) -> Group:
        """Make a group of a communicator; collective."""
        return cls(control, timed(control.Dup(), clock))

    @classmethod
    def nobody(cls, clock: Clock) -> Group:
        """Return what a rank has that belongs to no group any more: null communicators."""
        return cls(MPI.Intracomm(), timed(MPI.Intracomm(), clock))

    def disconnect(self) -> None:
        """Part from all ranks of the group; collective, and it waits for messages still under way."""
        self.comm.close()
        self.control.Disconnect()
