"""Files that go on over worlds: made anew by the first that computes with them, appended to by all later ones.

A file of a world that does not compute leads nowhere: what a program writes at its top, such as a header, its predecessor has
written before it. Where no world had the file, that is held until this one computes. Until then a file is as it was, for this
world may be dropped. Standard library only.
"""

from __future__ import annotations

import os
import stat
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any, NamedTuple

from flexmpi.errors import UsageError

APPENDING = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC


class Noted(NamedTuple):
    """Whether no world that computes, or has, had opened a path; whether one before this one had."""

    first: bool
    by_another: bool


@dataclass
class _Output:
    """One file, while the program has it: its path, and what it is to lead to, where it leads elsewhere for now."""

    file: weakref.ref[IO[Any]]
    path: str
    target: int | None

    @property
    def opened(self) -> IO[Any] | None:
        file = self.file()
        return None if file is None or file.closed else file


@dataclass(frozen=True)
class _Held:
    """What was written to a path that no world had, in the order in which it was; whether the file is made anew for it."""

    descriptor: int
    anew: bool


class Outputs:
    """The files of one rank that go on.

    Parameters
    ----------
    note
        Tells who of this application has opened a path before, and takes note that a world that computes has now.
    computes
        Whether this world computes; else what is written is held or dropped until `begin`.
    """

    def __init__(self, note: Callable[[str, bool], Noted], *, computes: bool) -> None:
        self._note = note
        self._computes = computes
        self._known: set[str] = set()
        self._held: dict[str, _Held] = {}
        self._outputs: list[_Output] = []

    def open(self, path: str | os.PathLike[str], mode: str, *, buffering: int, **text: str | None) -> IO[Any]:
        """Open a file; see `Session.output`."""
        kind = _kind(mode)
        name = os.path.realpath(os.fsdecode(path))
        first = name not in self._known and self._note(name, self._computes).first
        anew = first and kind[0] == "w"
        target: int | None = None

        def opener(path: str, _: int) -> int:
            nonlocal target
            real = os.open(path, APPENDING | (os.O_TRUNC if anew and self._computes else 0), 0o666)
            if self._computes:
                return real
            target = real
            if first:
                self._held[name] = _Held(os.memfd_create("flexmpi:output", os.MFD_CLOEXEC), anew)
            if (held := self._held.get(name)) is not None:
                return os.dup(held.descriptor)
            return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)

        # For the program to close.
        file = open(path, "a" + kind[1:], buffering, opener=opener, **text)  # type: ignore[call-overload] # noqa: SIM115
        self._outputs = [each for each in self._outputs if each.opened is not None or each.target is not None]
        self._outputs.append(_Output(weakref.ref(file), name, target))
        self._known.add(name)
        return file  # type: ignore[no-any-return]

    def identities(self) -> set[tuple[int, int]]:
        """Return device and inode of each of them."""
        files = [each.target if each.target is not None else each.opened for each in self._outputs]
        found = (os.fstat(file if isinstance(file, int) else file.fileno()) for file in files if file is not None)
        return {(status.st_dev, status.st_ino) for status in found}

    def begin(self) -> None:
        """Have what is held written, and what is written from now on."""
        self._computes = True
        # What was written so far goes nowhere, if it is not held.
        self.flush()
        for each in self._outputs:
            target, each.target = each.target, None
            if target is None:
                continue
            if (held := self._held.pop(each.path, None)) is not None:
                self._write(held, each.path, target)
            if (file := each.opened) is not None:
                with suppress(OSError):  # no place in a pipe
                    os.lseek(target, 0, os.SEEK_END)
                os.dup2(target, file.fileno(), inheritable=False)
            os.close(target)

    def _write(self, held: _Held, path: str, target: int) -> None:
        """Write what was held, unless a predecessor has the file by now, and let go of it."""
        noted = self._note(path, True)
        if noted.first and held.anew and stat.S_ISREG(os.fstat(target).st_mode):
            os.ftruncate(target, 0)
        if not noted.by_another:
            _copy(held.descriptor, target)
        os.close(held.descriptor)

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
    os.lseek(held, 0, os.SEEK_SET)
    while data := os.read(held, 1 << 20):
        while data:
            data = data[os.write(target, data) :]


def _kind(mode: str) -> str:
    """Return "w" or "a", with "b" for bytes."""
    letters = sorted(str(mode))
    if letters in (["w"], ["a"], ["t", "w"], ["a", "t"], ["b", "w"], ["a", "b"]):
        return ("w" if "w" in letters else "a") + ("b" if "b" in letters else "")
    raise UsageError(f"flex.output opens a file to write into it: its mode is w or a, with b for bytes, got {mode!r}")
