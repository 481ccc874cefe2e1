"""Files that go on over worlds: made anew by the first that opens them, appended to by all later ones.

A file of a world that does not compute leads nowhere: what a program writes at its top, such as a header, its predecessor has
written before it. Where no world had the file, that is held until this one computes. Standard library only.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

from flexmpi.errors import UsageError

APPENDING = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC


@dataclass
class _Output:
    """One file, while the program has it; what it is to lead to, where it leads elsewhere for now, and what holds its text."""

    file: weakref.ref[IO[Any]]
    target: int | None
    held: int | None

    @property
    def opened(self) -> IO[Any] | None:
        file = self.file()
        return None if file is None or file.closed else file


class Outputs:
    """The files of one rank that go on.

    Parameters
    ----------
    is_first
        Tells whether this application has not opened the file of a path before, and takes note that it has now.
    computes
        Whether this world computes; else what is written is dropped until `begin`.
    """

    def __init__(self, is_first: Callable[[str], bool], *, computes: bool) -> None:
        self._is_first = is_first
        self._computes = computes
        self._known: set[str] = set()
        self._outputs: list[_Output] = []

    def open(self, path: str | os.PathLike[str], mode: str, *, buffering: int, **text: str | None) -> IO[Any]:
        """Open a file; see `Session.output`."""
        kind = _kind(mode)
        name = os.path.realpath(os.fsdecode(path))
        anew = kind[0] == "w" and name not in self._known and self._is_first(name)
        self._known.add(name)
        target: int | None = None
        held: int | None = None

        def opener(path: str, _: int) -> int:
            nonlocal target, held
            real = os.open(path, APPENDING | (os.O_TRUNC if anew else 0), 0o666)
            if self._computes:
                return real
            target = real
            if anew:
                held = os.memfd_create("flexmpi:output", os.MFD_CLOEXEC)
                return os.dup(held)
            return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)

        # For the program to close.
        file = open(path, "a" + kind[1:], buffering, opener=opener, **text)  # type: ignore[call-overload] # noqa: SIM115
        self._outputs = [each for each in self._outputs if each.opened is not None or each.target is not None]
        self._outputs.append(_Output(weakref.ref(file), target, held))
        return file  # type: ignore[no-any-return]

    def identities(self) -> set[tuple[int, int]]:
        """Return device and inode of each of them."""
        files = [each.target if each.target is not None else each.opened for each in self._outputs]
        found = (os.fstat(file if isinstance(file, int) else file.fileno()) for file in files if file is not None)
        return {(status.st_dev, status.st_ino) for status in found}

    def begin(self) -> None:
        """Have what is written from now on written."""
        self._computes = True
        for each in self._outputs:
            target, each.target = each.target, None
            if target is None:
                continue
            file = each.opened
            if file is not None:
                # What was written so far goes nowhere, if it is not held.
                file.flush()
            if each.held is not None:
                _copy(each.held, target)
                each.held = None
            if file is not None:
                with suppress(OSError):  # no place in a pipe
                    os.lseek(target, 0, os.SEEK_END)
                os.dup2(target, file.fileno(), inheritable=False)
            os.close(target)

    def flush(self) -> None:
        """Write all that is buffered."""
        for each in self._outputs:
            if (file := each.opened) is not None:
                file.flush()

    def end(self) -> None:
        """Have what is written from now on dropped: another world goes on with the files."""
        self._computes = False
        null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        for each in self._outputs:
            if (file := each.opened) is not None:
                os.dup2(null, file.fileno(), inheritable=False)
        os.close(null)


def _copy(held: int, target: int) -> None:
    """Write all that was held, and let go of it."""
    os.lseek(held, 0, os.SEEK_SET)
    while data := os.read(held, 1 << 20):
        while data:
            data = data[os.write(target, data) :]
    os.close(held)


def _kind(mode: str) -> str:
    """Return "w" or "a", with "b" for bytes."""
    letters = sorted(str(mode))
    if letters in (["w"], ["a"], ["t", "w"], ["a", "t"], ["b", "w"], ["a", "b"]):
        return ("w" if "w" in letters else "a") + ("b" if "b" in letters else "")
    raise UsageError(f"flex.output opens a file to write into it: its mode is w or a, with b for bytes, got {mode!r}")
