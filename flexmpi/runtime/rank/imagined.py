"""What rank 0 is asked about changes of ranks that might happen, and when it is due to be answered."""

from __future__ import annotations

from flexmpi.runtime.arrays.registry import Registry
from flexmpi.runtime.communication.link import Message
from flexmpi.runtime.job.places import Transition


class Imagined:
    """The latest question of how many bytes changes would move.

    It is answered once, and again whenever the program has assigned a sparse matrix anew.
    """

    def __init__(self) -> None:
        self._question: Message | None = None
        self._answered: tuple[int, int] | None = None

    def ask(self, question: Message) -> None:
        """Take a question in."""
        self._question = question

    def forget(self) -> None:
        """The ranks have changed: the question was about others."""
        self._question = None

    def due(self, registry: Registry) -> tuple[Transition, ...]:
        """Return the changes that ranks are to look at now; none if they have, or if their rows are shared by other weights."""
        question = self._question
        if question is None or tuple(question["weights"]) != registry.weights:
            return ()
        if self._answered == (asked := (question["number"], registry.filled)):
            return ()
        self._answered = asked
        return tuple(Transition(tuple(each["weights"]), tuple(each["newcomers"])) for each in question["changes"])

    def answer(self, bytes_to_move: list[int]) -> dict[str, object]:
        """Return the fields of the answer."""
        assert self._answered is not None
        return {"number": self._answered[0], "bytes": bytes_to_move}
