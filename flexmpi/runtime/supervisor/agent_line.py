"""What a supervisor needs of a job's line to the cluster agent, and no more."""

from __future__ import annotations

from typing import Protocol

from flexmpi.runtime.job.measurements import IntervalReport


class AgentLine(Protocol):
    """A job's line to the cluster agent, as far as its supervisor uses it."""

    def start(self) -> None:
        """Look for the agent from now on."""

    def sampled(self, latest: IntervalReport) -> None:
        """Tell what was measured in a sampling interval."""

    async def close(self, *, status: int, why: str | None) -> None:
        """Say that the job has ended."""
