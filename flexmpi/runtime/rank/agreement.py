"""Agreement points, seen from a rank: what all ranks learn together.

This is the only place where ranks act on what the supervisor wants. How ranks change is in `joining_agreement` and
`handover_agreement`. MPI is called from the main thread alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from flexmpi.runtime.arrays.registry import Registry
from flexmpi.runtime.communication.calls import Clock
from flexmpi.runtime.communication.group import Group
from flexmpi.runtime.communication.link import Link, Message
from flexmpi.runtime.job.interval import Interval
from flexmpi.runtime.rank import finalisation
from flexmpi.runtime.rank.decisions import Decision
from flexmpi.runtime.rank.imagined import Imagined
from flexmpi.runtime.rank.inheritance import told
from flexmpi.runtime.rank.sampling import Sampler, as_columns


class Agreement(ABC):
    """One rank's part in the agreement points of an elastic application.

    Attributes
    ----------
    next_at
        The iteration number of the next agreement point.
    reconfigured
        Called after rows or ranks have changed.
    """

    def __init__(self, link: Link, registry: Registry, clock: Clock, interval: Interval) -> None:
        self.next_at = 0
        self.reconfigured: Callable[[], None] = lambda: None
        self._link = link
        self._registry = registry
        self._interval = interval
        self._length = 0
        self._clock = clock
        self._sampler = Sampler(clock)
        self._uncounted: dict[str, str] = {}
        self._follow(told.get("FLEXMPI_COUNTERS", "").split())
        self._loop = self._maximum = 0
        self._told_digest: int | None = None
        self._imagined = Imagined()
        self._opened_at = perf_counter()

    @property
    @abstractmethod
    def group(self) -> Group:
        """The ranks this one computes with."""

    @property
    @abstractmethod
    def moving(self) -> bool:
        """Whether rows move beside the computation, so that `progress` is to be called in each iteration."""

    @abstractmethod
    def progress(self) -> None:
        """Let rows that move beside the computation go on; does not wait."""

    @abstractmethod
    def wait_to_begin(self, loop: int, maximum: int) -> int | None:
        """Sleep, outside the application, until this rank computes from some iteration of ``loop`` on.

        Parameters
        ----------
        loop, maximum
            The loop that this rank has come to, and its largest number of iterations.

        Returns
        -------
        int or None
            The iteration to start with; None if the application is past this loop.

        Raises
        ------
        RankLeaves
            The application does not need this rank, or has ended.
        """

    @abstractmethod
    def _share_rows(self) -> bool:
        """Share rows that are to be shared by what the program has filled in; collective. True if any may have moved."""

    @abstractmethod
    def _note(self, message: Message) -> None:
        """Take in, as rank 0, what the supervisor says of changes."""

    @abstractmethod
    def _propose(self, iteration: int, *, interval: int, terminate: bool) -> tuple[int, object]:
        """Return, as rank 0, the iterations to the next agreement point and what changes now, if anything does."""

    @abstractmethod
    def _carry_out(self, change: object, iteration: int) -> int | None:
        """Carry out what was proposed, before ``iteration``; collective. What `agree` returns is returned."""

    @abstractmethod
    def _leave(self) -> None:
        """End this rank's part in an application that is terminated; collective, raises RankLeaves."""

    @abstractmethod
    def _before_end(self, change: object, *, terminate: bool) -> None:
        """See to what must not be left open when the application ends; collective."""

    def end(self) -> None:
        """End the application; collective."""
        self._before_end(None, terminate=True)
        self._link.send("finished")
        self.group.disconnect()

    @property
    def _leads(self) -> bool:
        return self.group.control.rank == 0

    def begin_loop(self, loop: int, maximum: int) -> None:
        """Start a loop of at most so many iterations, as a rank of the application; its first is an agreement point."""
        finalisation.check()
        self._loop, self._maximum, self.next_at, self._length = loop, maximum, 0, 0
        if self._share_rows():
            self.reconfigured()
        if loop == 0:
            self._link.send("loaded", seconds=perf_counter() - self._opened_at)
        if self._leads:
            self._tell_loop()

    def _tell_loop(self) -> None:
        self._told_digest = self._registry.digest()
        objects = self._registry.descriptors()
        self._link.send("loop", loop=self._loop, maximum=self._maximum, objects=objects, digest=self._told_digest)

    def _is_elsewhere(self, *, loop: int, digest: int) -> bool:
        """Tell, as rank 0, whether others wait in another loop or know other objects, and say where this one is."""
        if self._registry.digest() != self._told_digest:
            self._tell_loop()
        return loop != self._loop or digest != self._told_digest

    def agree(self, iteration: int) -> int | None:
        """Exchange samples and learn what to do before ``iteration``; collective.

        Returns
        -------
        int or None
            The iteration to go on with; None if this rank was parked and the application is past its loop.

        Raises
        ------
        RankLeaves
            This rank is no longer part of the application.
        """
        finalisation.check()
        decision = self.group.control.bcast(self._decide(iteration))
        self.next_at, self._length = iteration + decision.interval, decision.interval
        self._before_end(decision.change, terminate=decision.terminate)
        if decision.terminate:
            if self._leads:
                self._link.send("terminating", iteration=iteration)
            self._leave()
        if decision.counters is not None:
            self._follow(decision.counters)
        if decision.imagined:
            found = self._registry.bytes_to_move(self.group.control, decision.imagined)
            if self._leads:
                self._link.send("imagined", **self._imagined.answer(found))
        going_on: int | None = iteration
        if decision.change is not None:
            going_on = self._carry_out(decision.change, iteration)
        self._sampler.restart()
        return going_on

    def _decide(self, iteration: int) -> Decision | None:
        sample = self._sampler.take().as_array()
        self._tell_uncounted()
        control = self.group.control
        gathered = np.empty((control.size, sample.size)) if control.rank == 0 else None
        control.Gather(sample, gathered, root=0)
        if gathered is None:
            return None
        iteration_s = float(gathered[:, 0].max()) / self._length if self._length else None
        interval = self._interval.next_length(iteration, previous=self._length, iteration_s=iteration_s)
        terminate, counters = False, None
        for message in self._link.poll():
            if message["kind"] == "counters":
                counters = tuple(message["events"])
            elif message["kind"] == "imagine":
                self._imagined.ask(message)
            elif message["kind"] == "terminate":
                terminate = True
            else:
                self._note(message)
        interval, change = self._propose(iteration, interval=interval, terminate=terminate)
        if self._length:
            self._report(iteration, gathered, next_at=iteration + interval)
        imagined = () if terminate or change is not None else self._imagined.due(self._registry)
        return Decision(interval, change, terminate, counters, imagined)

    def _follow(self, events: Sequence[str]) -> None:
        """Count these hardware events from now on, as all ranks do, and say which of them this one cannot count."""
        if tuple(events) != self._sampler.events:
            self._sampler.follow(events)
            self._uncounted = {}
            self._tell_uncounted()

    def _tell_uncounted(self) -> None:
        """Say which events this rank does not count, or counts no more, when that has changed."""
        if self._sampler.refused != self._uncounted:
            self._uncounted = dict(self._sampler.refused)
            self._link.send("uncounted", refused=self._uncounted)

    def _report(self, iteration: int, gathered: NDArray[np.float64], *, next_at: int) -> None:
        columns = as_columns(gathered, self._sampler.events)
        where = {"loop": self._loop, "iteration": iteration, "iterations": self._length, "next_at": next_at}
        load, whole_rows = self._registry.load()
        shares = {"load": load, "whole_rows": whole_rows, "weights": self._registry.weights}
        self._link.send("sample", **where, **shares, **columns)

    def _begin_with(self, *, loop: int, iteration: int, interval: int, counters: Sequence[str]) -> None:
        """Take over, as a rank that begins in the middle, what others have agreed on before."""
        self._follow(counters)
        self._loop, self._length = loop, interval
        self.next_at = iteration + interval
        self._sampler.restart()
