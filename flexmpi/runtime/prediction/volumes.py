"""What changes of ranks would move: who asks the ranks, and what they have answered.

Pure. The ranks know it alone: where rows differ in cost, how they are shared depends on every one of them.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import accumulate
from typing import Any

from flexmpi.runtime.job.places import Transition

MOST_WEIGHTS = 10_000
"""Of all changes that are asked about together: to share rows by so many takes some 20 ms, for which the application waits."""


class Volumes:
    """Bytes that changes of one job's ranks would move.

    Attributes
    ----------
    known
        By the change; of a job that has changed since nothing is.
    """

    def __init__(self) -> None:
        self.known: dict[Transition, int] = {}
        self._of: Hashable = None
        self._number = 0
        self._asked: tuple[Transition, ...] = ()
        self._is_open = False

    def begin(self, state: Hashable) -> None:
        """Forget all if the job is not in the state any more that it was in: its loop, its ranks, their weights."""
        if state != self._of:
            self._of, self.known, self._asked, self._is_open = state, {}, (), False
            self._number += 1

    def question(self, unknown: Sequence[Transition], *, weights: Sequence[float]) -> dict[str, Any] | None:
        """Return what to ask rank 0, about the present ranks with these weights; None while an answer is awaited.

        What was answered before is asked again, so that all of it becomes known anew when the program changes its matrices,
        unless it is too much.
        """
        if self._is_open:
            return None
        wanted: Sequence[Transition] = (*self.known, *unknown)
        if sum(len(each.weights) for each in wanted) > MOST_WEIGHTS:
            sums = accumulate(len(each.weights) for each in unknown)
            wanted = (
                tuple(each for each, total in zip(unknown, sums, strict=True) if total <= MOST_WEIGHTS) or unknown[:1]
            )
        self._number += 1
        self._asked, self._is_open = tuple(wanted), True
        changes = [{"weights": each.weights, "newcomers": each.newcomers} for each in wanted]
        return {"number": self._number, "weights": tuple(weights), "changes": changes}

    def answered(self, message: Mapping[str, Any]) -> bool:
        """Take an answer in; False if it is to a question that does not matter any more."""
        if message["number"] != self._number:
            return False
        self.known.update(zip(self._asked, message["bytes"], strict=True))
        self._is_open = False
        return True
