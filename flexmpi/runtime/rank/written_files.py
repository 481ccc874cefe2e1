"""Files that a successor opens for writing while its predecessor, which computes, has them open for writing.

What Python opens is seen, with the line of the program, by functions in place of ``open`` and ``os.open``, which are put back
before the loop: an audit hook could not be removed, and would make ``copy.deepcopy`` and logging slower ever after. What a
library in C opens is seen by the descriptors that are open when the successor has come to its loop. Predecessors on other nodes
are not looked at. Standard library only.
"""

from __future__ import annotations

import _io
import builtins
import io
import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import update_wrapper
from pathlib import Path
from types import ModuleType
from typing import Any

from flexmpi.protocol.handover import WrittenFile
from flexmpi.runtime.rank.program_lines import line_of_program

Identity = tuple[int, int]
"""Device and inode of a file."""

WRITING = (os.O_WRONLY, os.O_RDWR)


class _Watched:
    """A function in place of a built-in one: as that, it is no method where it is an attribute of a class."""

    def __init__(self, real: Callable[..., Any], note: Callable[..., None]) -> None:
        update_wrapper(self, real)
        self._real, self._note = real, note

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self._note(*arguments, **options)
        return self._real(*arguments, **options)


class WrittenFiles:
    """What a rank has opened for writing before its world computes."""

    def __init__(self) -> None:
        self._lines: dict[str, str] = {}
        self._watching = False
        self._inherited: frozenset[Identity] = frozenset()
        self._replaced: list[tuple[ModuleType, Any, Any]] = []

    def watch(self) -> None:
        """Note from now on what Python opens; what is open already is not the program's."""
        self._watching, self._inherited = True, frozenset(written_by("self"))
        watched = self._watched(io.open, "file", "mode", _mode_writes)
        for module in (builtins, io, _io):
            self._replaced.append((module, module.open, watched))
        self._replaced.append((os, os.open, self._watched(os.open, "path", "flags", _flags_write)))
        for module, _, new in self._replaced:
            module.open = new  # type: ignore[attr-defined]
        os.register_at_fork(after_in_child=self.end)

    def _watched(self, real: Any, path: str, how: str, writes: Callable[[object], bool]) -> Any:
        """Return what notes the files that it opens for writing, and is as another function in all else."""

        def note(*arguments: Any, **options: Any) -> None:
            if self._watching:
                given = dict(zip((path, how), arguments, strict=False)) | options
                if writes(given.get(how)) and given.get("dir_fd") is None:
                    self._note(given.get(path))

        return _Watched(real, note)

    def _note(self, path: object) -> None:
        if isinstance(path, str | bytes | os.PathLike):
            with suppress(OSError):  # the working folder may be gone
                self._lines[str(Path(os.fsdecode(path)).absolute())] = line_of_program()

    @contextmanager
    def unwatched(self) -> Iterator[None]:
        """Note nothing of what is opened here."""
        before, self._watching = self._watching, False
        try:
            yield
        finally:
            self._watching = before

    def end(self) -> None:
        """Note nothing more: the world computes."""
        self._watching = False
        self._lines.clear()
        for module, real, new in self._replaced:
            # The program may have put another in its place.
            if module.open is new:
                module.open = real  # type: ignore[attr-defined]
        self._replaced.clear()

    def in_common_with(self, pids: Iterable[int], *, aside: Collection[Identity]) -> tuple[WrittenFile, ...]:
        """Return which of these files some of these processes have open for writing.

        Parameters
        ----------
        pids
            The predecessor's ranks on this node.
        aside
            Files that are meant to be open in both.
        """
        own = {**written_by("self"), **_identities(self._lines)}
        own = {each: path for each, path in own.items() if each not in self._inherited and each not in aside}
        if not own:
            return ()
        theirs = {each for pid in pids for each in (*written_by(pid), *mapped_by(pid))}
        return in_common(own, theirs, self._lines)


def _mode_writes(mode: object) -> bool:
    return isinstance(mode, str) and not set("wax+").isdisjoint(mode)


def _flags_write(flags: object) -> bool:
    return isinstance(flags, int) and flags & os.O_ACCMODE in WRITING


def in_common(
    own: Mapping[Identity, str], theirs: Collection[Identity], lines: Mapping[str, str]
) -> tuple[WrittenFile, ...]:
    """Return the files of which somebody else has one open too, in the order of their paths, with the line of each."""
    return tuple(WrittenFile(path, lines.get(path, "")) for path in sorted({own[each] for each in own.keys() & theirs}))


def written_by(pid: int | str) -> dict[Identity, str]:
    """Return the regular files that a process has open for writing and that have a name; none where it cannot be looked at."""
    found = {}
    folder = Path(f"/proc/{pid}")
    # A process may end, and a descriptor be closed, at any of these reads.
    with suppress(OSError):
        for descriptor in (folder / "fd").iterdir():
            with suppress(OSError):
                status = descriptor.stat()
                if _is_of_interest(status) and _is_writing((folder / "fdinfo" / descriptor.name).read_text()):
                    found[status.st_dev, status.st_ino] = str(descriptor.readlink())
    return found


def mapped_by(pid: int | str) -> dict[Identity, str]:
    """Return the regular files that a process can write by a mapping; their descriptors may be closed."""
    found = {}
    with suppress(OSError):
        paths = set(_written_mappings(Path(f"/proc/{pid}/maps").read_text(errors="surrogateescape")))
        found = _identities(paths)
    return found


def _written_mappings(maps: str) -> Iterator[str]:
    """Yield the paths of the shared mappings that can be written to, of a text such as that of /proc/PID/maps."""
    for line in maps.splitlines():
        _, protection, _, _, _, *path = line.split(maxsplit=5)
        if protection.startswith("rw") and protection.endswith("s") and path and path[0].startswith("/"):
            yield path[0]


def _identities(paths: Iterable[str]) -> dict[Identity, str]:
    found = {}
    for path in paths:
        with suppress(OSError, ValueError):
            status = Path(path).stat()
            if _is_of_interest(status):
                found[status.st_dev, status.st_ino] = path
    return found


def _is_of_interest(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) and status.st_nlink > 0


def _is_writing(information: str) -> bool:
    """Tell by a text such as that of /proc/PID/fdinfo/FD whether a descriptor can be written to."""
    flags = next((line.split()[1] for line in information.splitlines() if line.startswith("flags:")), "0")
    return _flags_write(int(flags, 8))


own = WrittenFiles()
"""Those of this rank."""
