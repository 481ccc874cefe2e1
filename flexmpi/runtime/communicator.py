"""The communicator an application is given: an ordinary ``Intracomm`` that also adds up the time its calls take.

Calls made on the class (``MPI.Request.Waitall``) and on topology communicators are not timed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from time import perf_counter
from typing import Any

from mpi4py import MPI

from flexmpi.runtime.calls import Clock, class_of

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


def _blocking(method: Callable[..., Any], number: int) -> Callable[..., Any]:
    @wraps(method)
    def call(self: Any, *arguments: Any, **options: Any) -> Any:
        clock = self.clock
        start = perf_counter()
        try:
            return method(self, *arguments, **options)
        finally:
            clock.seconds[number] += perf_counter() - start
            if clock.looking:
                clock.count(number, (*arguments[:2], *options.values()))

    return call


def _waiting(method: Callable[..., Any]) -> Callable[..., Any]:
    """Time what completes a request; that is no call of its own."""

    @wraps(method)
    def call(self: Any, *arguments: Any, **options: Any) -> Any:
        start = perf_counter()
        try:
            return method(self, *arguments, **options)
        finally:
            self.clock.seconds[0] += perf_counter() - start

    return call


def _nonblocking(method: Callable[..., Any], number: int) -> Callable[..., Any]:
    @wraps(method)
    def call(self: Any, *arguments: Any, **options: Any) -> TimedRequest:
        clock = self.clock
        start = perf_counter()
        request = _timed_request(method(self, *arguments, **options), clock)
        clock.seconds[number] += perf_counter() - start
        if clock.looking:
            clock.count(number, (*arguments[:2], *options.values()))
        return request

    return call


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


for _names, _timed in ((BLOCKING, _blocking), (NONBLOCKING, _nonblocking)):
    for _name in _names:
        setattr(TimedCommunicator, _name, _timed(getattr(MPI.Intracomm, _name), class_of(_name)))
for _names, _wrap in ((DERIVING + TOPOLOGY, _deriving), (DERIVING_LATER, _deriving_later)):
    for _name in _names:
        setattr(TimedCommunicator, _name, _wrap(getattr(MPI.Intracomm, _name)))
for _name in ("Wait", "wait", "Test", "test"):
    setattr(TimedRequest, _name, _waiting(getattr(MPI.Request, _name)))
