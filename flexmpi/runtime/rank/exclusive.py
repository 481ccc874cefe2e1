"""What only one may have open, such as a file that is locked or a port: it changes hands when one world takes over from another.

The predecessor closes it when its successor is ready, the successor opens it before it computes; if the change is given up the
predecessor opens it again. Standard library only.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from flexmpi.errors import UsageError
from flexmpi.runtime.rank.program_lines import line_of_program

Opened = TypeVar("Opened")
Close = Callable[[Any], object]


class Stage(Enum):
    """Where one of them is, with why it has no value."""

    NEW = "the `with` block has not begun"
    AWAITED = "the world that computes has it; it is opened before the first iteration of the loop"
    OPEN = ""
    LENT = "the world that takes over has it"
    CLOSED = "the `with` block has ended"


class Exclusive(Generic[Opened]):
    """What only one may have open, in a ``with`` statement around the loop; made by `Session.exclusive`.

    Attributes
    ----------
    value
        What ``open_it`` has returned. It is to be asked for anew in each iteration, for a change that is given up opens it again.
    """

    def __init__(
        self, those: Exclusives, open_it: Callable[[], Opened], close: Callable[[Opened], object] | None
    ) -> None:
        self._those = those
        self._open_it = open_it
        self._close_it = close or _close
        self._stage = Stage.NEW
        self._value: Opened | None = None
        self.line = line_of_program()

    @property
    def value(self) -> Opened:
        """What ``open_it`` has returned; UsageError where this world does not have it open."""
        if self._stage is not Stage.OPEN:
            raise UsageError(f"flex.exclusive ({self.line}) has no value: {self._stage.value}")
        return self._value  # type: ignore[return-value]

    def open(self) -> None:
        """Open it."""
        self._value = value = self._open_it()
        if self._close_it is _close and value is not None and not callable(getattr(value, "close", None)):
            kind = type(value).__name__
            raise UsageError(f"flex.exclusive ({self.line}): {kind} has no close(); say how by close=, a function")
        self._stage = Stage.OPEN

    def lend(self) -> bool:
        """Close it, for another world to open; False where it is not open."""
        if self._stage is not Stage.OPEN:
            return False
        self._close(Stage.LENT)
        return True

    def take_back(self) -> None:
        """Open it again, if it was lent."""
        if self._stage is Stage.LENT:
            self.open()

    def take(self) -> None:
        """Open it, if it was awaited."""
        if self._stage is Stage.AWAITED:
            self.open()

    def _close(self, stage: Stage) -> None:
        value, self._value, self._stage = self._value, None, stage
        self._close_it(value)  # type: ignore[arg-type]

    def __enter__(self) -> Self:
        if self._stage not in (Stage.NEW, Stage.CLOSED):
            raise UsageError(f"flex.exclusive ({self.line}) is in use already: its `with` blocks do not nest")
        if self._those.computes:
            self.open()
        else:
            self._stage = Stage.AWAITED
        self._those.entered(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._those.left(self)
        if self._stage is Stage.OPEN:
            self._close(Stage.CLOSED)
        elif self._stage is Stage.AWAITED:
            self._stage = Stage.CLOSED


class Exclusives:
    """All of one rank whose ``with`` blocks have begun, in this order.

    Attributes
    ----------
    computes
        Whether this world computes, so that it may open them.
    """

    def __init__(self, *, computes: bool) -> None:
        self.computes = computes
        self._entered: list[Exclusive[Any]] = []

    def entered(self, one: Exclusive[Any]) -> None:
        """The ``with`` block of one has begun."""
        self._entered.append(one)

    def left(self, one: Exclusive[Any]) -> None:
        """The ``with`` block of one has ended."""
        self._entered.remove(one)

    def lend(self) -> int:
        """Close them for a successor, the last first, and return how many there were."""
        return sum(each.lend() for each in reversed(self._entered))

    def take_back(self, why: str) -> None:
        """Open them again: the change was given up."""
        for each in self._entered:
            try:
                each.take_back()
            except BaseException as error:
                error.add_note(f"flex.exclusive ({each.line}) was opened again here, for a change was given up: {why}")
                raise

    def take(self) -> str:
        """Open them, which the predecessor has closed; return what prevents it, or nothing."""
        self.computes = True
        for each in self._entered:
            try:
                each.take()
            except BaseException as error:
                return f"flex.exclusive ({each.line}) raised {type(error).__name__}: {error}".split("\n")[0]
        return ""


def _close(value: Any) -> None:
    """Close what has been opened, if this rank has opened anything."""
    if value is not None:
        value.close()
