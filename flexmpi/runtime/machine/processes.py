"""Processes on this machine: finding descendants and ending them.

Standard library only. Nothing here decides when.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from flexmpi.runtime.machine import this_process

PR_SET_CHILD_SUBREAPER = 36
LONGEST_TEMPORARY_PATH = 50
"""
A Unix socket's path has at most 107 bytes. The longest is that of a program's ``multiprocessing``: with five digits for the node
and the process set ``/flexmpi-xxxxxxxx/NNNNN/pset-NNNNN/mp/listener-xxxxxxxx``.
"""
FOLDER_PREFIX = "flexmpi-"
SOCKET_NAME = "ranks.sock"
"""The node launcher's Unix socket, in its folder."""
FILES_NAME = "files.sock"
"""That at which its ranks get the node's files in memory."""
RESOURCE_TRACKER = b"resource_tracker import main"
"""
In the command line of the processes of Python's ``multiprocessing``, and of libraries made after it, that remove its semaphores
and shared memory as soon as they serve nobody any more.
"""
CLEAR_LIMIT_S = 3.0
"""How long the processes of a program that clear up behind its others may take."""

_libc = ctypes.CDLL(None)


_open_files: tuple[int, int] | None = None


def allow_many_open_files() -> None:
    """Have this process, which has a dozen files open for each rank, open as many as it may; `become_mpiexec` takes that back."""
    global _open_files
    _open_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_open_files[1], _open_files[1]))


def become_mpiexec(launcher: int) -> None:
    """Prepare a child of ``launcher`` that will be ``mpiexec``: it dies with its launcher, and not of a SIGTERM.

    A resource manager sends SIGTERM to every process of a job it takes a node from. The launcher acts on it, by having
    the ranks leave; hydra would end them at once. A blocked signal stays blocked in hydra and what it starts.
    """
    this_process.die_with(launcher)
    if _open_files is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, _open_files)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def private_folder() -> Path:
    """Make a folder where the user wants temporary files, or in /tmp where a Unix socket's path would get too long."""
    wanted = tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=wanted if len(wanted) <= LONGEST_TEMPORARY_PATH else "/tmp"))


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent dies, so that none can escape."""
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1)


def descendants(root: int) -> list[int]:
    """Return the process ids below ``root``, parents before their children."""
    return _below([root], _children())


def having(entry: str) -> list[int]:
    """Return the processes that live and were started with ``entry`` (``NAME=VALUE``) in their environment."""
    return [pid for pid, _ in _parents() if entry.encode() in _environment(pid)]


def numbered(entry: str, names: Sequence[str]) -> dict[int, int]:
    """Return the processes that were started with ``entry`` in their environment, by the number that a variable has there.

    Parameters
    ----------
    names
        The variable's possible names; a process that has none of them does not count.
    """
    found = {}
    for pid, _ in _parents():
        environment = _environment(pid)
        if entry.encode() in environment:
            values = dict(variable.partition(b"=")[::2] for variable in environment)
            number = next((values[name.encode()] for name in names if name.encode() in values), b"")
            if number.isdigit():
                found[int(number)] = pid
    return found


def having_any(start: str) -> list[int]:
    """Return the processes that live and were started with an entry in their environment that begins with ``start``."""
    return [pid for pid, _ in _parents() if any(entry.startswith(start.encode()) for entry in _environment(pid))]


def stopped(pids: Iterable[int]) -> list[int]:
    """Return those of these processes that a signal or a debugger has stopped."""
    return [pid for pid in pids if _state(pid) in ("T", "t")]


def kill(pids: Iterable[int]) -> None:
    """Kill these processes, those that are gone excepted."""
    _send(signal.SIGKILL, pids)


def _send(number: signal.Signals, pids: Iterable[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def is_tracker(command_line: bytes) -> bool:
    """Tell a resource tracker by its command line, as /proc shows it."""
    return RESOURCE_TRACKER in command_line


def end(pids: Iterable[int]) -> None:
    """Kill these processes, except those that clear up behind others, and end then by themselves.

    All are stopped before the first is killed: ``mpiexec`` would complain of it, and kill whole process groups, in which are
    those that clear up.
    """
    ended = [pid for pid in pids if not is_tracker(_command_line(pid))]
    _send(signal.SIGSTOP, ended)
    kill(ended)


def in_sessions(leaders: Collection[int]) -> list[int]:
    """Return the processes below this one that live in the sessions of these, which may have ended."""
    return [pid for pid in descendants(os.getpid()) if _session(pid) in leaders and not _has_ended(pid)]


def reap_adopted(*, started: Collection[int]) -> None:
    """Collect the children of this process that have ended, except those it ``started`` and waits for itself."""
    for pid, parent in _parents():
        if parent == os.getpid() and pid not in started:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def end_orphans(*, spared: Collection[int]) -> bool:
    """Kill what this process has adopted, but not what is in its own session, nor what it ``spared`` and what is below that.

    Returns
    -------
    bool
        Whether anything was left; call again until nothing is.
    """
    own, children = os.getsid(0), _children()
    # One look at all processes: in a second one there may be more below those that are spared.
    adopted = [pid for pid in children.get(os.getpid(), ()) if pid not in spared]
    left = [pid for pid in [*adopted, *_below(adopted, children)] if _session(pid) not in (None, own)]
    kill(left)
    for pid in left:
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    return bool(left)


def end_descendants(*, at_once: bool = True) -> bool:
    """Kill all that is below this process, and collect what has ended.

    Parameters
    ----------
    at_once
        Also those that clear up behind others.

    Returns
    -------
    bool
        Whether anything was left; call again until nothing is.
    """
    left = descendants(os.getpid())
    kill(left) if at_once else end(left)
    reap_adopted(started=())
    return bool(left)


def bind(pid: int, cores: Collection[int]) -> None:
    """Let a process, with all threads it has now, run on these cores only.

    Raises
    ------
    OSError
        The process is gone, or has no such core.
    """
    for thread in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(thread), cores)


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _state(pid: int) -> str:
    try:
        return _status(Path(f"/proc/{pid}"))[0]
    except OSError:
        return ""


def _has_ended(pid: int) -> bool:
    """Tell whether a process is gone, or all its threads are: while one is left it has its files and memory still."""
    try:
        fields = _status(Path(f"/proc/{pid}"))
    except OSError:
        return True
    # Number 20 in proc(5); the state is number 3.
    return fields[0] == "Z" and int(fields[17]) == 1


def _status(folder: Path) -> list[str]:
    # The command, in parentheses, may hold anything; behind it are the state and the parent.
    return (folder / "stat").read_text().rpartition(")")[2].split()


def _process_folders() -> Iterator[Path]:
    return (Path(entry.path) for entry in os.scandir("/proc") if entry.name.isdigit())


def _children() -> dict[int, list[int]]:
    """Return the children of each process that has any."""
    children: dict[int, list[int]] = {}
    for pid, parent in _parents():
        children.setdefault(parent, []).append(pid)
    return children


def _below(roots: Sequence[int], children: Mapping[int, Sequence[int]]) -> list[int]:
    found = [child for root in roots for child in children.get(root, ())]
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def _parents() -> Iterator[tuple[int, int]]:
    for folder in _process_folders():
        with suppress(OSError):
            yield int(folder.name), int(_status(folder)[1])
