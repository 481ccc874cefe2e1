"""Where nodes and jobs come from: one Protocol, and one module a resource manager.

`slurm_cli` runs Slurm's commands, `slurm_pyslurm` speaks to its library, `local` has virtual nodes of this machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from flexmpi.cluster.state import Snapshot
from flexmpi.cluster.submission import Submission

__all__ = ["Lender", "ResourceManager", "Submission"]


class ResourceManager(Protocol):
    """What an agent asks of a resource manager.

    The calls block, at most for the manager's time limit, and may be made from several threads.
    """

    def snapshot(self) -> Snapshot:
        """Read all nodes and jobs, in one batch.

        Raises
        ------
        ManagerError
            The manager does not answer in time, refuses, or is not understood.
        """

    def submit(self, submission: Submission) -> int:
        """Submit a job and return its number; that of the array where it is one.

        Raises
        ------
        ManagerError
            The manager refuses, in its words, or does not answer in time: then the job may have been submitted all the
            same, which the next snapshots tell.
        """

    def cancel(self, job_id: int) -> None:
        """Have a job end, or all tasks of a job array. One that has ended is left alone.

        Raises
        ------
        ManagerError
            The manager knows no such job, refuses, or does not answer in time.
        """

    def close(self) -> None:
        """Let go of whatever the manager holds; under `local` its jobs end."""


@runtime_checkable
class Lender(Protocol):
    """A resource manager whose running jobs cannot ask it for nodes themselves, so that the agent does it for them."""

    def lend(self, job_id: int, nodes: Sequence[str]) -> None:
        """Give a running job more nodes; raises ManagerError where they are not free."""

    def take_back(self, job_id: int, nodes: Sequence[str]) -> None:
        """Free nodes that a job has left."""
