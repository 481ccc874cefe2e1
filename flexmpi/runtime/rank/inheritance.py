"""What a rank is started with for the runtime and for MPI, and how the program's own children are kept free of it.

These are signals, variables, open files and standard input. MPI needs its variables until it is initialised; all else is
settled before the program begins. Standard library only.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from importlib.machinery import ModuleSpec
from types import FrameType, ModuleType
from typing import TYPE_CHECKING

from flexmpi.protocol.rank_start import (
    COMPUTES,
    NAMES,
    NUMBER,
    RANK_NAMES,
    SIGNALS,
    RankPlace,
    SignalState,
    names_in,
    place_by,
)
from flexmpi.runtime.communication import link as links
from flexmpi.runtime.rank import untouched

if TYPE_CHECKING:
    from importlib.abc import Loader

OWN = "FLEXMPI_"
MPI4PY, MULTIPROCESSING = "mpi4py.MPI", "multiprocessing.process"
PYTHONS = frozenset((signal.SIGPIPE, signal.SIGXFSZ))
"""Signals that every Python ignores, and lets the children of ``subprocess`` not ignore."""
SOCKETS = "mp"
"""The folder of the Unix sockets of ``multiprocessing``, in that of the process set; short, for their paths must be."""
UNCATCHABLE = frozenset((signal.SIGKILL, signal.SIGSTOP))

told: dict[str, str] = {}
"""What the node launcher has told this rank; empty where none has started it."""
pipes: list[int] = []
"""A successor's rank keeps its pipes to its launcher here, for standard output and standard error."""
_of_mpi: dict[str, str] = {}
_files: list[tuple[int, int, int]] = []
_ignored: set[int] = set()
_mask = threading.local()


def place() -> RankPlace:
    """Return where this rank is, which a launcher has started and whose inheritance is settled."""
    return place_by(told)


def settle() -> None:
    """Take what the launcher tells this rank, and keep what it was started with from the children it will have."""
    for name in [name for name in os.environ if name.startswith(OWN)]:
        told[name] = os.environ.pop(name)
    told[NUMBER] = next((os.environ[name] for name in RANK_NAMES if name in os.environ), "0")
    _restore_temporary_folder()
    users = names_in(told[NAMES])
    _of_mpi.update((name, value) for name, value in os.environ.items() if name not in users)
    restore_signals(SignalState.parse(told[SIGNALS]))
    _empty_standard_input()
    for file in open_files():
        keep_from_children(file)
    os.register_at_fork(before=_before_fork, after_in_parent=_unblock, after_in_child=_after_fork)
    if MULTIPROCESSING in sys.modules:
        _keep_sockets_in_own_folder(sys.modules[MULTIPROCESSING])
    sys.meta_path.insert(0, _Watch())


def open_files() -> set[int]:
    """Return the descriptors above standard error that are open."""
    files = set()
    for name in os.listdir("/proc/self/fd"):
        # The one by which the list was read is gone.
        with suppress(OSError):
            os.fstat(int(name))
            files.add(int(name))
    return {file for file in files if file > 2}


def mpi_is_initialised(*, opened: Iterable[int] = ()) -> None:
    """Take away what only MPI needed, and ignore again what the user's environment does and MPI has a handler for.

    Parameters
    ----------
    opened
        The descriptors that MPI has opened; programs that are executed get none of them.
    """
    for file in opened:
        os.set_inheritable(file, False)
    _clear_variables()
    for number in _ignored:
        if signal.getsignal(number) is signal.SIG_IGN:
            with suppress(ValueError):  # in another thread than the main one
                signal.signal(number, signal.SIG_IGN)


def _clear_variables() -> None:
    """Remove the variables that are not the user's, unless the program has given them another value."""
    for name, value in _of_mpi.items():
        if os.environ.get(name) == value:
            del os.environ[name]
            untouched.forget(name)
    _of_mpi.clear()


def _restore_temporary_folder() -> None:
    """Give the program the TMPDIR its user had; the one set now is the MPI library's alone."""
    original = told.get("FLEXMPI_TMPDIR", "")
    if original:
        os.environ["TMPDIR"] = original
    else:
        os.environ.pop("TMPDIR", None)


def restore_signals(state: SignalState) -> None:
    """Ignore and block what the user's environment does, in place of what the launcher and ``mpiexec`` do."""
    for number in signal.valid_signals() - PYTHONS - UNCATCHABLE:
        if number in state.ignored:
            signal.signal(number, signal.SIG_IGN)
            _ignored.add(number)
        elif number == signal.SIGTERM:
            signal.signal(number, _leave_to_the_launcher)
            signal.siginterrupt(number, False)
        elif signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, state.blocked)


def _leave_to_the_launcher(number: int, frame: FrameType | None) -> None:
    """Do nothing: where a node is taken back, each of its processes gets a SIGTERM, and the launcher has the ranks leave.

    It is a function and not SIG_IGN, which would stay in force in every program that this process executes.
    """


def _empty_standard_input() -> None:
    """Have no standard input, in this rank as in all others; ``mpiexec`` gives the first one a pipe of its own."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    if null:
        os.close(null)


def mark_output() -> None:
    """Have all that this rank prints from now on shown as the application's."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    for pipe in pipes:
        os.write(pipe, COMPUTES)


def keep_from_children(file: int) -> None:
    """Have an open file closed in the processes that this one forks, and in the programs that are executed."""
    os.set_inheritable(file, False)
    _files.append((file, *_identity(file)))


def _identity(file: int) -> tuple[int, int]:
    status = os.fstat(file)
    return status.st_dev, status.st_ino


def _before_fork() -> None:
    """Let no SIGTERM come to a child before it is as its parent's user wants it."""
    _mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _mask.before)


def _after_fork() -> None:
    """Make a forked child a process that the runtime and MPI know nothing of."""
    links.forget()
    for file, *identity in _files:
        # The program may have closed it, and opened another in its place.
        with suppress(OSError):
            if [*_identity(file)] == identity:
                os.close(file)
    _clear_variables()
    if signal.getsignal(signal.SIGTERM) is _leave_to_the_launcher:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _unblock()


class _Watch:
    """Sees the program import what is to be looked after.

    That is ``mpi4py.MPI``, which initialises MPI unless the program does that itself later, and ``multiprocessing``.
    """

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find the module as the other finders do, and see it executed."""
        if name not in (MPI4PY, MULTIPROCESSING):
            return None
        # Before mpi4py looks which MPI there is, and loads that.
        executed = partial(_mpi_executed, before=open_files()) if name == MPI4PY else _keep_sockets_in_own_folder
        specs = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and spec.loader is not None:
            _see_executed(spec.loader, executed)
        return spec


def _see_executed(loader: Loader, executed: Callable[[ModuleType], None]) -> None:
    execute = loader.exec_module

    def execute_and_look(module: ModuleType) -> None:
        execute(module)
        executed(module)

    loader.exec_module = execute_and_look  # type: ignore[method-assign]


def _mpi_executed(module: ModuleType, *, before: set[int]) -> None:
    if module.Is_initialized():
        mpi_is_initialised(opened=open_files() - before)


def _keep_sockets_in_own_folder(multiprocessing: ModuleType) -> None:
    """Have the Unix sockets of ``multiprocessing`` in the process set's folder, which its launcher removes.

    In a folder that ``multiprocessing`` makes they would stay when all processes are killed. Children, of every start method,
    inherit this.
    """
    folder = place().folder / SOCKETS
    # Where it cannot be made the program has its import all the same.
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        multiprocessing.current_process()._config["tempdir"] = str(folder)
