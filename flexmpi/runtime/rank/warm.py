"""The warm parent of a node's ranks: a process that has imported what each of them needs, and forks them.

It is safe because nothing is in it that a fork breaks: MPI is loaded and not initialised, there is one thread (or it refuses),
no socket but the one to its launcher, no file, and nothing of the user's program. Each rank is forked twice, so that its
launcher adopts it: the ranks outlive their warm parent, and die with their launcher.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import sys
from typing import Any

from flexmpi.protocol.rank_start import SIGNALS, SignalState
from flexmpi.protocol.warm_parent import CONTROL, LARGEST_ORDER, MOST_RANKS
from flexmpi.runtime.machine import this_process
from flexmpi.runtime.rank import inheritance
from flexmpi.runtime.rank import main as rank

Order = dict[str, Any]


def main() -> None:
    """Import, say so, and fork the ranks that the launcher asks for; each goes on from here."""
    launcher = os.getppid()
    control = socket.socket(fileno=int(os.environ.pop(CONTROL)))
    # Before MPI is loaded, which has handlers of its own for signals.
    inheritance.restore_signals(SignalState.parse(os.environ[SIGNALS]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    problem = _prepare()
    control.send(problem.encode() or b"ready")
    if problem:
        sys.exit(problem)
    while True:
        data, descriptors, _, _ = socket.recv_fds(control, LARGEST_ORDER, MOST_RANKS + 1)
        if not data:
            return
        if (order := _fork(json.loads(data), descriptors)) is not None:
            control.close()
            _become_rank(order, launcher)
            return
        for descriptor in descriptors:
            os.close(descriptor)


def _prepare() -> str:
    """Import what a rank needs; return why no rank can be forked after that, or nothing."""
    import mpi4py

    mpi4py.rc.initialize, mpi4py.rc.finalize = False, True
    from mpi4py import MPI

    import flexmpi.runtime.rank.session  # noqa: F401 - for the ranks

    mpi4py.rc.__dict__.clear()
    library = MPI.Get_library_version().split("\n")[0].rstrip("\0")
    if not library.startswith("MPICH Version:"):
        return f"ranks of {library} cannot be forked"
    threads = len(os.listdir("/proc/self/task"))
    return "" if threads == 1 else f"the imports have started {threads - 1} threads, which no forked rank would have"


def _fork(order: Order, descriptors: list[int]) -> Order | None:
    """Fork the ranks of a world; return in each of them what it is told, and None in their parent."""
    report, *managers = descriptors
    for local_rank, manager in enumerate(managers):
        middle = os.fork()
        if middle == 0:
            own = os.getpid()
            if os.fork():
                os._exit(0)
            for other in set(managers) - {manager}:
                os.close(other)
            return {**order, "local_rank": local_rank, "manager": manager, "report": report, "middle": own}
        os.waitpid(middle, 0)
    return None


def _become_rank(order: Order, launcher: int) -> None:
    """Be one rank of a world: initialise MPI with the others, then run the program when all have."""
    _await_adoption(order["middle"])
    this_process.die_with(launcher)
    os.setsid()
    os.chdir(order["directory"])
    _set_environment(order)
    _relabel(os.environ["FLEXMPI_OUTPUT"])
    inheritance.settle()
    report = socket.socket(fileno=order["report"])
    report.sendall(b"%d %d\n" % (order["local_rank"], os.getpid()))
    before = inheritance.open_files()
    _initialise()
    inheritance.mpi_is_initialised(opened=inheritance.open_files() - before)
    report.sendall(b"%d initialised\n" % order["local_rank"])
    if not report.recv(1):
        os._exit(1)
    report.close()
    sys.argv = [rank.__file__, *order["command"]]
    rank.run()


def _await_adoption(middle: int) -> None:
    """Wait until the process between warm parent and rank has ended."""
    try:
        descriptor = os.pidfd_open(middle)
    except ProcessLookupError:
        return
    select.select([descriptor], [], [])
    os.close(descriptor)


def _set_environment(order: Order) -> None:
    """Have the environment that ``mpiexec`` would give."""
    for name in [name for name in os.environ if name.startswith("FLEXMPI_")]:
        del os.environ[name]
    os.environ.update(order["environment"])
    del os.environ["FLEXMPI_LAUNCHER"]
    size, local_rank = str(order["size"]), str(order["local_rank"])
    os.environ.update(PMI_FD=str(order["manager"]), PMI_RANK=local_rank, PMI_SIZE=size)
    os.environ.update(MPI_LOCALNRANKS=size, MPI_LOCALRANKID=local_rank)


def _relabel(output: str) -> None:
    """Show the command line of a rank and its output folder in /proc, by which ranks are found when they have to be ended."""
    this_process.show(
        this_process.command_line().replace(b"flexmpi.runtime.rank.warm", b"flexmpi.runtime.rank.main", 1)
    )
    *_, environment, environment_end = this_process.memory()
    shown = ctypes.string_at(environment, environment_end - environment)
    start = (b"\0" + shown).index(b"\0FLEXMPI_OUTPUT=")
    length = shown.index(b"\0", start) - start
    entry = f"FLEXMPI_OUTPUT={output}".encode()
    if len(entry) > length:
        raise ValueError(f"no room for {output}")
    ctypes.memmove(environment + start, entry.ljust(length, b"\0"), length)


def _initialise() -> None:
    """Initialise MPI as the import of ``mpi4py.MPI`` does."""
    from mpi4py import MPI

    MPI.Init_thread(MPI.THREAD_MULTIPLE)


if __name__ == "__main__":
    main()
