"""Which nodes a job may have ranks on, where a resource manager has given it some and the agent gives it more.

Pure. Under Slurm, and for virtual nodes that nobody manages, a job may use whatever node it can get.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from flexmpi.cluster.platform import Node, find_nodes
from flexmpi.errors import CommandError


class Grant:
    """The nodes that are a job's to use.

    Parameters
    ----------
    nodes
        Those that the resource manager has given it, which stay its own until the agent takes them; None where there is no
        manager to ask.
    """

    def __init__(self, nodes: Iterable[str] | None) -> None:
        self._own: list[str] | None = None if nodes is None else list(nodes)
        self._lent: list[str] = []

    @property
    def nodes(self) -> tuple[str, ...]:
        """Those that are the job's whether it has ranks there or not; none where there is no manager to ask."""
        return (*(self._own or ()), *self._lent)

    def usable(self, nodes: Iterable[Node], given: Collection[str] = ()) -> tuple[Node, ...]:
        """Return those of these nodes that the job may use, ``given`` with a command among them."""
        if self._own is None:
            return tuple(nodes)
        usable = {*self.nodes, *given}
        return tuple(node for node in nodes if node.name in usable)

    def check(self, nodes: Iterable[Node], names: Iterable[str], given: Collection[str] = ()) -> None:
        """See that each name, of a node or a class, means some node that the job may use.

        Raises
        ------
        CommandError
            It means none of them, or nothing at all.
        """
        for name in names:
            found = find_nodes(tuple(nodes), name)
            if not self.usable(found, given):
                held = ", ".join(self.nodes)
                raise CommandError(
                    f"{name} is not a node of this job, which has {held}: only the agent gives it others"
                )

    def settle(self, *, given: Collection[str], left: Collection[str], used: Collection[str]) -> None:
        """Take note of a reconfiguration.

        Parameters
        ----------
        given, left
            The nodes that the agent has given and taken with it.
        used
            Those with ranks now: one that was given and has none any more is given back.
        """
        if self._own is None:
            return
        self._own = [node for node in self._own if node not in left]
        fresh = [node for node in given if node not in self.nodes]
        self._lent = [node for node in (*self._lent, *fresh) if node in used]
