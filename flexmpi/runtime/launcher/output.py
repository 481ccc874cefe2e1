"""What a process set prints, cut into lines; and the notice that hydra's ``mpiexec`` prints when a process is killed.

Pure: bytes in, lines out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

LONGEST_LINE = 1 << 20
"""Bytes of a line that are kept until its end comes; of a longer one the pieces are passed on as they are."""

_RULE = b"=" * 83
_CLOSING = (b"YOUR APPLICATION TERMINATED", b"This typically refers", b"Please see the FAQ")


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
    """Takes hydra's notice of a killed process out of what ``mpiexec`` itself prints, and reads it.

    Attributes
    ----------
    pid, signal
        The process it names and the signal that ended it; None while there was no notice.
    """

    pid: int | None = None
    signal: int | None = None
    _held: list[bytes] = field(default_factory=list)
    _inside: bool = False
    _expected: tuple[bytes, ...] = ()

    def filter(self, line: bytes) -> list[bytes]:
        """Take a line and return those that do not belong to a notice; a line may be held back until the next."""
        if self._inside:
            self._read(line)
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

    def _read(self, line: bytes) -> None:
        if found := re.match(rb"=\s+PID (\d+) RUNNING", line):
            self.pid = int(found[1])
        elif found := re.match(rb"=\s+EXIT CODE: (\d+)", line):
            self.signal = int(found[1])
        elif line.strip() == _RULE:
            self._inside, self._expected = False, _CLOSING
