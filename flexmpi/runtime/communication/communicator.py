"""The communicator an application is given: an ordinary ``Intracomm`` that also adds up the time its calls take.

Calls made on the class (``MPI.Request.Waitall``) and on topology communicators are not timed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import signature
from time import perf_counter
from typing import Any

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
DERIVING = ["Dup", "Dup_with_info", "Clone", "Create", "Create_group", "Split", "Split_type", "Create_intercomm"]
DERIVING_LATER = ["Idup", "Idup_with_info"]
TOPOLOGY = ["Create_cart", "Create_graph", "Create_dist_graph", "Create_dist_graph_adjacent"]


class TimedRequest(MPI.Request):
    """A request whose waits count as communication."""

    clock: Clock


class TimedCommunicator(MPI.Intracomm):
    """An ``Intracomm`` that times its calls and knows the communicators made from it.

    ``Split``, ``Dup``, ``Create`` and their like give timed communicators too, and nonblocking calls timed requests. All of
    them live until the next reconfiguration only, like the communicator itself. What is made from a topology communicator
    (``Create_cart`` and its like) is the program's own to free.
    """

    clock: Clock
    derived: list[MPI.Comm]

    def close(self) -> None:
        """Free what was derived, then disconnect; collective."""
        self.free_derived()
        self.Disconnect()

    def free_derived(self) -> None:
        """Free the communicators made from this one, the oldest first, as every rank made them in that order."""
        for communicator in self.derived:
            if isinstance(communicator, TimedCommunicator):
                communicator.free_derived()
            if communicator != MPI.COMM_NULL:
                communicator.Free()
        self.derived.clear()


def timed(communicator: MPI.Intracomm, clock: Clock) -> TimedCommunicator:
    """Return the same communicator (no copy is made) as one that adds its time to ``clock``."""
    result = communicator if isinstance(communicator, TimedCommunicator) else TimedCommunicator(communicator)
    result.clock = clock
    result.derived = []
    return result


BLOCKING_CALL = """
def call({declared}):
    start = perf_counter()
    try:
        return method({passed})
    finally:
        clock = self.clock
        clock.seconds[{number}] += perf_counter() - start
        if clock.looking:
            clock.count({number}, ({passed},))
"""
NONBLOCKING_CALL = """
def call({declared}):
    start = perf_counter()
    clock = self.clock
    request = timed_request(method({passed}), clock)
    clock.seconds[{number}] += perf_counter() - start
    if clock.looking:
        clock.count({number}, ({passed},))
    return request
"""
# What completes a request is no call of its own.
WAITING_CALL = """
def call({declared}):
    start = perf_counter()
    try:
        return method({passed})
    finally:
        self.clock.seconds[0] += perf_counter() - start
"""


def _compiled(template: str, method: Callable[..., Any], number: int) -> Callable[..., Any]:
    """Make a timed call with the parameters of the one it times: to pass on any arguments by their names costs twice as much."""
    parameters = signature(method).parameters.values()
    declared = ", ".join(
        each.name if each.default is each.empty else f"{each.name}=default_{each.name}" for each in parameters
    )
    passed = ", ".join(each.name for each in parameters)
    defaults = {f"default_{each.name}": each.default for each in parameters}
    names = {"method": method, "perf_counter": perf_counter, "timed_request": _timed_request, **defaults}
    exec(template.format(declared=declared, passed=passed, number=number), names)
    return wraps(method)(names["call"])


class _OnFirstUse:
    """A timed call that is made when a program asks for it first: there are eighty, and programs use a few.

    Parameters
    ----------
    timing, timed
        The class that times the call, and the one whose call it is.
    """

    def __init__(self, timing: type, timed: type, *, name: str, template: str) -> None:
        self._timing, self._timed, self._name, self._template = timing, timed, name, template

    def __get__(self, instance: Any, owner: type) -> Any:
        setattr(
            self._timing, self._name, _compiled(self._template, getattr(self._timed, self._name), class_of(self._name))
        )
        return getattr(owner if instance is None else instance, self._name)


def _deriving(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(self: TimedCommunicator, *arguments: Any, **options: Any) -> Any:
        made = method(self, *arguments, **options)
        return made if made == MPI.COMM_NULL else _adopted(self, made)

    return call


def _deriving_later(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(self: TimedCommunicator, *arguments: Any, **options: Any) -> Any:
        made, request = method(self, *arguments, **options)
        return _adopted(self, made), _timed_request(request, self.clock)

    return call


def _adopted(parent: TimedCommunicator, made: Any) -> Any:
    """Make a new communicator a timed one, if it is an ordinary one, and remember it."""
    if type(made) in (MPI.Intracomm, TimedCommunicator):
        made = timed(made, parent.clock)
    parent.derived = [*(known for known in parent.derived if known != MPI.COMM_NULL), made]
    return made


def _timed_request(request: MPI.Request, clock: Clock) -> TimedRequest:
    result = TimedRequest(request)
    result.clock = clock
    return result


for _names, _template in ((BLOCKING, BLOCKING_CALL), (NONBLOCKING, NONBLOCKING_CALL)):
    for _name in _names:
        setattr(TimedCommunicator, _name, _OnFirstUse(TimedCommunicator, MPI.Intracomm, name=_name, template=_template))
for _names, _wrap in ((DERIVING + TOPOLOGY, _deriving), (DERIVING_LATER, _deriving_later)):
    for _name in _names:
        setattr(TimedCommunicator, _name, _wrap(getattr(MPI.Intracomm, _name)))
for _name in ("Wait", "wait", "Test", "test"):
    setattr(TimedRequest, _name, _OnFirstUse(TimedRequest, MPI.Request, name=_name, template=WAITING_CALL))
