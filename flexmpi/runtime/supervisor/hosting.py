"""Process sets that live on several nodes: run from the first, hosted by the others' launchers, which are told and heard here.

The end of such a process set is an end when nothing of it is left on any node and all that its ranks have printed has come.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from flexmpi.protocol.frames import Message
from flexmpi.runtime.job.roster import ProcessSet
from flexmpi.runtime.providers.gateway import LauncherLine

Send = Callable[..., None]


@dataclass
class Hosted:
    """One process set: the nodes that host it, those of them that have said so, and its end, which was reported by its head.

    ``problem`` is why it cannot be started.
    """

    pset: ProcessSet
    nodes: set[str]
    ready: set[str] = field(default_factory=set)
    problem: str | None = None
    end: Message | None = None


class Hosting:
    """Which nodes host which process sets.

    Parameters
    ----------
    send
        Sends a message to a node's launcher, if it is there.
    on_ended
        Called with a process set that has ended on all its nodes, and its head's report.
    """

    def __init__(self, send: Send, *, on_ended: Callable[[ProcessSet, Message], None]) -> None:
        self._send = send
        self._on_ended = on_ended
        self._sets: dict[int, Hosted] = {}

    def host(self, pset: ProcessSet, head: LauncherLine) -> None:
        """Have the nodes of a process set be ready for its ranks, but the one that runs it."""
        hosted = self._sets[pset.number] = Hosted(pset, set(pset.nodes[1:]))
        label = str(head.folder / f"pset-{pset.number}")
        for node in hosted.nodes:
            self._send(node, "host", pset=pset.number, here=pset.numbers_on(node), label=label)

    def is_ready(self, pset: ProcessSet) -> bool:
        """Whether all nodes are ready for a process set, or it is over with it."""
        hosted = self._sets.get(pset.number)
        return hosted is None or hosted.end is not None or hosted.problem is not None or hosted.ready >= hosted.nodes

    def problem(self, pset: ProcessSet) -> str | None:
        """Return why a process set cannot be started; None if it can."""
        hosted = self._sets.get(pset.number)
        if hosted is None or hosted.end is not None:
            return f"a node launcher of {', '.join(pset.nodes)} is gone"
        return hosted.problem

    def give_up(self, pset: ProcessSet) -> None:
        """Have nothing left of a process set that was not started."""
        if (hosted := self._sets.get(pset.number)) is not None and hosted.end is None:
            self._end(hosted, {"pset": pset.number, "status": 1, "error": hosted.problem})

    def ready(self, node: str, number: int, *, problem: str | None = None) -> None:
        """A node is ready for ranks, or cannot have them."""
        if (hosted := self._sets.get(number)) is not None:
            hosted.ready.add(node)
            hosted.problem = hosted.problem or (problem and f"{node} cannot host ranks: {problem}")

    def head_ended(self, message: Message) -> None:
        """A process set has ended on the node that ran it."""
        if (hosted := self._sets.get(message["pset"])) is not None:
            self._end(hosted, message)

    def gone(self, node: str, number: int) -> None:
        """Nothing of a process set is left on a node that hosted it."""
        if (hosted := self._sets.get(number)) is not None:
            hosted.nodes.discard(node)
            self._look(hosted)

    def lost(self, node: str) -> None:
        """The launcher of a node is gone, and with it what it ran or hosted."""
        for hosted in list(self._sets.values()):
            if node in hosted.nodes:
                hosted.nodes.discard(node)
                hosted.problem = f"the node launcher of {node} is gone"
                self._send(hosted.pset.node, "kill", pset=hosted.pset.number)
                self._look(hosted)
            elif hosted.pset.node == node:
                # Why that is the end of the process set has been said where the launcher was missed.
                self._end(hosted, {"pset": hosted.pset.number})

    def _end(self, hosted: Hosted, message: Message) -> None:
        hosted.end = message
        for node in hosted.nodes:
            self._send(node, "unhost", pset=hosted.pset.number)
        self._look(hosted)

    def _look(self, hosted: Hosted) -> None:
        if hosted.end is not None and not hosted.nodes:
            del self._sets[hosted.pset.number]
            self._on_ended(hosted.pset, hosted.end)
