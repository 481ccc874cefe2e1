"""What a process set prints, cut into lines; and the notices that ``mpiexec`` prints when a process has ended badly.

Pure: bytes in, lines out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

LONGEST_LINE = 1 << 20
"""Bytes of a line that are kept until its end comes; of a longer one the pieces are passed on as they are."""

_RULE = b"=" * 83
_CLOSING = (b"YOUR APPLICATION TERMINATED", b"This typically refers", b"Please see the FAQ")
_DASHES = b"-" * 74
_OF_PRRTE = (
    b"prterun noticed that process rank",
    b"prterun detected that one or more processes exited",
    b"prterun has exited due to",
)


class Notice(Protocol):
    """What a launcher prints of itself that the program's user need not see, for FlexMPI says it."""

    def filter(self, line: bytes) -> list[bytes]:
        """Take a line and return those that do not belong to a notice; a line may be held back until the next."""

    def close(self) -> list[bytes]:
        """Return what was held back."""


class LineReader:
    """Cuts a stream of bytes into lines, so that those of several streams can be put together without mixing."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes and return the complete lines, each with its newline."""
        *lines, rest = data.split(b"\n")
        complete = [line + b"\n" for line in lines]
        if complete:
            complete[0] = bytes(self._rest) + complete[0]
            self._rest.clear()
        self._rest += rest
        return [*complete, *self.close()] if len(self._rest) > LONGEST_LINE else complete

    def close(self) -> list[bytes]:
        """Return what is left without a newline."""
        rest = bytes(self._rest)
        self._rest.clear()
        return [rest] if rest else []


@dataclass
class TerminationNotice:
    """Takes hydra's notices of killed processes out of what ``mpiexec`` itself prints.

    MPICH's hydra has one; Intel MPI's has one for each process, those that it has killed itself included.
    """

    _held: list[bytes] = field(default_factory=list)
    _inside: bool = False
    _expected: tuple[bytes, ...] = ()

    def filter(self, line: bytes) -> list[bytes]:
        """Take a line and return those that do not belong to a notice; a line may be held back until the next."""
        if self._inside:
            if line.strip() == _RULE:
                self._inside, self._expected = False, _CLOSING
            return []
        if self._expected and line.startswith(self._expected[0]):
            self._expected = self._expected[1:]
            return []
        self._expected = ()
        if self._held and self._held[-1].strip() == _RULE and b"BAD TERMINATION OF ONE OF" in line:
            self._held.clear()
            self._inside = True
            return []
        if line == b"\n" or (line.strip() == _RULE and self._held == [b"\n"]):
            released = self._release() if line == b"\n" else []
            self._held.append(line)
            return released
        return [*self._release(), line]

    def close(self) -> list[bytes]:
        """Return what was held back."""
        return self._release()

    def _release(self) -> list[bytes]:
        released, self._held = self._held, []
        return released


@dataclass
class PrrteNotice:
    """Takes what PRRTE's ``mpiexec``, that of Open MPI, says of a process that has ended badly out of its standard error."""

    _held: list[bytes] = field(default_factory=list)

    def filter(self, line: bytes) -> list[bytes]:
        """Take a line and return those that do not belong to a notice; a line may be held back until the next."""
        if not self._held:
            if line.strip() != _DASHES:
                return [line]
            self._held = [line]
            return []
        self._held.append(line)
        if len(self._held) == 2 and not line.startswith(_OF_PRRTE):
            return self._release(begins=line.strip() == _DASHES)
        if len(self._held) > 2 and line.strip() == _DASHES:
            self._held = []
        return []

    def close(self) -> list[bytes]:
        """Return what was held back."""
        return self._release()

    def _release(self, *, begins: bool = False) -> list[bytes]:
        """Return what was held back, but the last line where another notice may begin with it."""
        released, self._held = (self._held[:-1], self._held[-1:]) if begins else (self._held, [])
        return released
