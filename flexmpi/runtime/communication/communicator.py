"""What mpi4py's communicators do besides while a session is open: time their calls, and know what was made from the session's.

The program's communicator is an ordinary ``Intracomm``, for some libraries take nothing else (petsc4py looks at the type, and C
code may). So it is the methods of mpi4py's classes that are replaced, until the session ends: the calls of Python code on any
communicator are timed, those of C code are not.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from contextlib import suppress
from functools import cache, wraps
from inspect import signature
from time import perf_counter
from typing import Any, cast

from mpi4py import MPI

from flexmpi.runtime.communication.calls import Clock, class_of

BLOCKING = """
Send Bsend Ssend Rsend Recv Sendrecv Sendrecv_replace Probe Mprobe Barrier Bcast Gather Gatherv Scatter Scatterv Allgather
Allgatherv Alltoall Alltoallv Alltoallw Reduce Allreduce Reduce_scatter Reduce_scatter_block Scan Exscan
send bsend ssend recv sendrecv probe mprobe barrier bcast gather scatter allgather alltoall reduce allreduce scan exscan
""".split()
NONBLOCKING = """
Isend Ibsend Issend Irsend Irecv Ibarrier Ibcast Igather Igatherv Iscatter Iscatterv Iallgather Iallgatherv Ialltoall
Ialltoallv Ialltoallw Ireduce Iallreduce Ireduce_scatter Ireduce_scatter_block Iscan Iexscan isend ibsend issend irecv
Isendrecv Isendrecv_replace
""".split()
COMPLETING = (
    "Wait wait Test test Waitall waitall Waitany waitany Waitsome waitsome Testall testall Testany testany".split()
)
DERIVING = [
    *"Dup Dup_with_info Clone Create Create_group Split Split_type Create_intercomm".split(),
    *"Create_cart Create_graph Create_dist_graph Create_dist_graph_adjacent".split(),
]
DERIVING_LATER = ["Idup", "Idup_with_info"]

Communicators = list[MPI.Comm]

CALL = """
def call({declared}):
    start = perf_counter()
    try:
        return method({passed})
    finally:
        clock.seconds[{number}] += perf_counter() - start
        if clock.looking:
            clock.count({number}, ({passed},))
"""
# What completes a request is no call of its own.
COMPLETING_CALL = """
def call({declared}):
    start = perf_counter()
    try:
        return method({passed})
    finally:
        clock.seconds[0] += perf_counter() - start
"""

_originals: dict[tuple[type, str], Any] = {}


def begin_timing(clock: Clock) -> None:
    """Add the time of all calls to ``clock`` from now on, and keep account of what is made from the `watched` communicators."""
    end_timing()
    for names, template in ((BLOCKING + NONBLOCKING, CALL), (COMPLETING, COMPLETING_CALL)):
        for name in names:
            for kind, method in _methods(name):
                _replace(kind, name, _OnFirstUse(kind, name, method, template=template, clock=clock))
    for names, deriving in ((DERIVING, _deriving), (DERIVING_LATER, _deriving_later)):
        for name in names:
            for kind, method in _methods(name):
                _replace(kind, name, deriving(method))


def end_timing() -> None:
    """Give mpi4py's classes their own methods back."""
    for (kind, name), method in _originals.items():
        _put(kind, name, method)
    _originals.clear()


def _methods(name: str) -> list[tuple[type, Any]]:
    """Return the classes that define a method, each with it."""
    return [(kind, vars(kind)[name]) for kind in (MPI.Comm, MPI.Intracomm, MPI.Request) if name in vars(kind)]


def _replace(kind: type, name: str, method: object) -> None:
    _originals.setdefault((kind, name), vars(kind)[name])
    _put(kind, name, method)


def _put(kind: type, name: str, method: object) -> None:
    """Give a class of an extension module a method; it refuses the assignment of an attribute."""
    (namespace,) = gc.get_referents(vars(kind))
    namespace[name] = method
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(kind))


class _OnFirstUse:
    """A timed call that is made when a program asks for it first: there are a hundred, and programs use a few.

    Parameters
    ----------
    kind, name, method
        The class, the call's name there, and what it is without timing.
    """

    def __init__(self, kind: type, name: str, method: Any, *, template: str, clock: Clock) -> None:
        self._kind, self._name, self._method = kind, name, method
        self._template, self._clock = template, clock

    def __get__(self, instance: Any, owner: type) -> Any:
        of_class = isinstance(self._method, classmethod)
        call = _compiled(
            self._template, self._method.__func__ if of_class else self._method, class_of(self._name), self._clock
        )
        timed = classmethod(call) if of_class else call
        if (self._kind, self._name) in _originals:
            _put(self._kind, self._name, timed)
        else:
            timed = self._method  # somebody has kept this, and the session has ended
        # Not looked up by its name: a class of the program's may have an override, which is asking for this.
        return timed.__get__(instance, owner)


def _compiled(template: str, method: Callable[..., Any], number: int, clock: Clock) -> Callable[..., Any]:
    """Make a timed call with the parameters of the one it times: to pass on any arguments by their names costs twice as much."""
    parameters = signature(method).parameters.values()
    declared = ", ".join(
        each.name if each.default is each.empty else f"{each.name}=default_{each.name}" for each in parameters
    )
    passed = ", ".join(each.name for each in parameters)
    defaults = {f"default_{each.name}": each.default for each in parameters}
    names = {"method": method, "perf_counter": perf_counter, "clock": clock, **defaults}
    exec(template.format(declared=declared, passed=passed, number=number), names)
    return wraps(method)(names["call"])


@cache
def _key() -> int:
    """Return the key under which a communicator keeps what is made from it; it is not handed on to duplicates."""
    return MPI.Comm.Create_keyval()


def watched(communicator: MPI.Comm) -> Communicators:
    """Return a list that gets the communicators which are made from this one, and in turn from these, in their order."""
    derived: Communicators = []
    communicator.Set_attr(_key(), derived)
    return derived


def free(derived: Communicators) -> None:
    """Free communicators, the oldest first, as every rank made them in that order."""
    for communicator in derived:
        if communicator != MPI.COMM_NULL:
            # The program may have freed it by another object of the same communicator, as of a class of its own.
            with suppress(MPI.Exception):
                communicator.Free()
    derived.clear()


def _deriving(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(self: MPI.Comm, *arguments: Any, **options: Any) -> Any:
        made = method(self, *arguments, **options)
        if made != MPI.COMM_NULL and (derived := _remember(self, made)) is not None and type(made) is MPI.Intracomm:
            made.Set_attr(_key(), derived)
        return made

    return call


def _deriving_later(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(self: MPI.Comm, *arguments: Any, **options: Any) -> Any:
        made, request = method(self, *arguments, **options)
        # It cannot keep anything yet, so what is made from it is the program's own to free.
        _remember(self, made)
        return made, request

    return call


def _remember(parent: MPI.Comm, made: MPI.Comm) -> Communicators | None:
    derived: Any = parent.Get_attr(_key())
    if derived is not None:
        derived[:] = [*(known for known in derived if known != MPI.COMM_NULL), made]
    return cast("Communicators | None", derived)
