"""Where nodes come from: a provider starts a node launcher on a node and ends what it started."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from flexmpi.cluster.platform import Node


class Provider(Protocol):
    """What the supervisor asks of a provider of nodes."""

    limit_s: float
    """How long a launcher may take to report."""

    rank_environment: Mapping[str, str]
    """What ranks on such nodes need in their environment."""

    async def start_launcher(self, request: int, node: str | None, *, addresses: Sequence[str], key: bytes) -> None:
        """Have a node launcher started that reports, as ``request``, to one of ``addresses``.

        Parameters
        ----------
        request
            The number by which the launcher says what it was started for.
        node
            Where; None for a node that the provider chooses.

        Raises
        ------
        MembershipError
            The node was refused.
        """

    def failure(self, request: int) -> str | None:
        """Return why a launcher that was asked for will not report any more; None while it may."""

    async def nodes(self, names: Collection[str]) -> tuple[Node, ...]:
        """Return those of these nodes that the job may have by now; where nodes never change, none."""

    def reported(self, request: int, node: str) -> None:
        """Take note that a launcher has reported."""

    async def withdraw(self, request: int) -> str:
        """Give up a request that has failed or takes too long, and return why; `ended` waits until nothing is left of it.

        Raises
        ------
        MembershipError
            The node was refused.
        """

    async def lost(self, request: int) -> None:
        """See that nothing is left of a launcher that does not answer any more."""

    async def released(self, node: str) -> str | None:
        """Take note that nothing of the job is left on a node; return what a person should know about it."""

    async def ended(self, request: int) -> None:
        """Wait until nothing is left of a launcher that was told to stop or is lost, so that its node is free."""

    async def close(self) -> None:
        """See that no launcher is left; they have been told to stop."""


def launcher_command() -> list[str]:
    """Return the command that starts a node launcher, without its options."""
    return [sys.executable, "-P", "-m", "flexmpi.runtime.launcher"]


def launcher_environment(request: int, addresses: Sequence[str], key: bytes) -> dict[str, str]:
    """Return what a node launcher is told by its environment."""
    return {
        "FLEXMPI_SUPERVISOR": ",".join(addresses),
        "FLEXMPI_KEY": key.hex(),
        "FLEXMPI_REQUEST": str(request),
    }
