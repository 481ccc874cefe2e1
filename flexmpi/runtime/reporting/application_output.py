"""What the application prints, on its way to the terminal: a successor's from when it computes, what it prints before on request.

A rank of a successor writes a mark where it begins to compute, so that it is exact what came before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from flexmpi.protocol.frames import Message
from flexmpi.protocol.rank_start import COMPUTES
from flexmpi.runtime.job.roster import RankId
from flexmpi.runtime.reporting.terminal import Terminal

MARK = COMPUTES.decode()


class ApplicationOutput:
    """Passes on what ranks print.

    Parameters
    ----------
    terminal
        Where to.
    verbose
        Also what a successor prints before it computes.
    """

    def __init__(self, terminal: Terminal, *, verbose: bool) -> None:
        self._terminal = terminal
        self._verbose = verbose
        self._held: set[tuple[RankId, str]] = set()

    def hold(self, ranks: Collection[RankId]) -> None:
        """Look out for the mark of these ranks, and show nothing of them before."""
        self._held.update((rank, stream) for rank in ranks for stream in ("stdout", "stderr"))

    def write(self, message: Message, *, then: Callable[[], object]) -> None:
        """Write what a launcher has passed on; ``then`` is called when that is done."""
        rank, stream, text = RankId(message["pset"], message["local_rank"]), message["stream"], message["text"]
        if (rank, stream) in self._held:
            before, mark, after = text.partition(MARK)
            if mark:
                self._held.discard((rank, stream))
            text = (before if self._verbose else "") + after
        self._terminal.write(stream, text.encode(errors="surrogateescape"), source=rank, then=then)
