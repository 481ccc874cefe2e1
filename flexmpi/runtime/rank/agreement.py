"""Agreement points, seen from a rank: what all ranks learn together.

This is the only place where ranks act on what the supervisor wants; a reconfiguration is carried out in ``changeover``. MPI is
called from the main thread alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from flexmpi.errors import MembershipError
from flexmpi.runtime.arrays.registry import Registry
from flexmpi.runtime.communication.calls import Clock
from flexmpi.runtime.communication.group import Group
from flexmpi.runtime.communication.link import Link, Message
from flexmpi.runtime.job.balance import weights_after
from flexmpi.runtime.job.interval import Interval
from flexmpi.runtime.job.places import members_places
from flexmpi.runtime.joining import ahead, membership
from flexmpi.runtime.joining.changeover import Changeover
from flexmpi.runtime.joining.plan import Plan, Welcome
from flexmpi.runtime.rank import finalisation
from flexmpi.runtime.rank.decisions import Decision
from flexmpi.runtime.rank.imagined import Imagined
from flexmpi.runtime.rank.inheritance import told
from flexmpi.runtime.rank.sampling import Sampler, as_columns


class Agreement:
    """One rank's part in the agreement points of an elastic application.

    Attributes
    ----------
    next_at
        The iteration number of the next agreement point.
    reconfigured
        Called after rows or ranks have changed.
    """

    def __init__(self, link: Link, registry: Registry, clock: Clock, interval: Interval, group: Group) -> None:
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
        self._pending: Message | None = None
        self._completion: Message | None = None
        self._imagined = Imagined()
        self._changeover = Changeover(link, registry, group, on_change=self._changed)
        self._opened_at = perf_counter()

    @property
    def group(self) -> Group:
        """The ranks this one computes with."""
        return self._changeover.group

    @property
    def moving(self) -> bool:
        """Whether rows move beside the computation, so that `progress` is to be called in each iteration."""
        return self._changeover.moving

    def progress(self) -> None:
        """Let rows that move beside the computation go on; does not wait."""
        with self._clock.aside():
            self._changeover.progress()

    def _changed(self) -> None:
        self._imagined.forget()
        self.reconfigured()

    def end(self) -> None:
        """End the application: newcomers that are connected, but have not joined, are let go; collective."""
        if self._changeover.linked is not None:
            self._changeover.unlink()
        self._link.send("finished")
        self.group.disconnect()

    @property
    def _leads(self) -> bool:
        return self.group.control.rank == 0

    def begin_loop(self, loop: int, maximum: int) -> None:
        """Start a loop of at most so many iterations, as a rank of the application; its first is an agreement point."""
        finalisation.check()
        self._loop, self._maximum, self.next_at, self._length = loop, maximum, 0, 0
        self._changeover.finish_moving()
        if self._registry.share_by_cost(self.group.control):
            self.reconfigured()
        if loop == 0:
            self._link.send("loaded", seconds=perf_counter() - self._opened_at)
        if self._leads:
            self._tell_loop()

    def _tell_loop(self) -> None:
        self._told_digest = self._registry.digest()
        objects = self._registry.descriptors()
        self._link.send("loop", loop=self._loop, maximum=self._maximum, objects=objects, digest=self._told_digest)

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
        if self._changeover.linked is not None and (decision.terminate or decision.unlink is not None):
            self._changeover.unlink(why=decision.unlink)
        if decision.terminate:
            if self._leads:
                self._link.send("terminating", iteration=iteration)
            self.group.disconnect()
            self._changeover.leave()
        if decision.counters is not None:
            self._follow(decision.counters)
        if decision.imagined:
            found = self._registry.bytes_to_move(self.group.control, decision.imagined)
            if self._leads:
                self._link.send("imagined", **self._imagined.answer(found))
        if decision.plan is not None:
            stays = self._changeover.carry_out(
                decision.plan, iteration, interval=self._length, counters=self._sampler.events
            )
            if not stays:
                self._imagined.forget()
                return self.wait_to_join(self._loop, self._maximum)
        self._sampler.restart()
        return iteration

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
            if message["kind"] == "reconfigure":
                self._pending = message
            elif message["kind"] == "complete":
                self._completion = message
            elif message["kind"] == "withdraw":
                self._withdraw(message["reconfiguration"])
            elif message["kind"] == "counters":
                counters = tuple(message["events"])
            elif message["kind"] == "imagine":
                self._imagined.ask(message)
            elif message["kind"] == "terminate":
                terminate = True
        plan, unlink = None, None
        if self._completion is not None and not terminate:
            plan, unlink = self._complete(self._completion)
            self._completion = None
        elif self._pending is not None and iteration < self._pending["at_iteration"]:
            interval = min(interval, self._pending["at_iteration"] - iteration)
        elif self._pending is not None and not terminate:
            plan, self._pending = self._accept_plan(self._pending), None
        if self._length:
            self._report(iteration, gathered, next_at=iteration + interval)
        imagined = () if terminate or plan is not None else self._imagined.due(self._registry)
        return Decision(interval, plan, terminate, counters, unlink, imagined)

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

    def _withdraw(self, reconfiguration: int) -> None:
        """Forget an offer, unless this comes too late: what was agreed on has been answered already."""
        self._pending = None
        if reconfiguration != self._changeover.agreed_on:
            self._link.send("failed", reconfiguration=reconfiguration, why="it was withdrawn")

    def _report(self, iteration: int, gathered: NDArray[np.float64], *, next_at: int) -> None:
        columns = as_columns(gathered, self._sampler.events)
        where = {"loop": self._loop, "iteration": iteration, "iterations": self._length, "next_at": next_at}
        load, whole_rows = self._registry.load()
        shares = {"load": load, "whole_rows": whole_rows, "weights": self._registry.weights}
        self._link.send("sample", **where, **shares, **columns)

    def _complete(self, message: Message) -> tuple[Plan | None, str | None]:
        """Return the second step of a reconfiguration, None if it must wait, and why it is given up, if it is."""
        if self._changeover.linked is None:
            return None, None
        plan = replace(self._changeover.linked.plan, ahead=False)
        if not plan.newcomers:
            return plan, message["why"]
        if why := message["why"] or self._registry.immovable():
            return None, why
        return (None if self._defer(message) else plan), None

    def _defer(self, message: Message) -> bool:
        """Tell the supervisor, if it is so, that newcomers wait in another loop or know other objects."""
        if self._registry.digest() != self._told_digest:
            self._tell_loop()
        deferred = message["loop"] != self._loop or message["digest"] != self._told_digest
        if deferred:
            self._link.send("deferred", reconfiguration=message["reconfiguration"], loop=self._loop)
        return bool(deferred)

    def _accept_plan(self, message: Message) -> Plan | None:
        """Take the supervisor's plan, unless its newcomers cannot join or cannot be served."""
        newcomers = message["newcomers"]
        if newcomers and (problem := self._registry.immovable()):
            self._link.send("failed", reconfiguration=message["reconfiguration"], why=problem)
            return None
        if self._registry.digest() != self._told_digest:
            self._tell_loop()
        if newcomers and self._defer(message):
            return None
        present, places = message["weights"] or self._registry.weights, tuple(message["places"])
        weights = weights_after(present, leaving=message["leaving"], newcomers=newcomers, places=places)
        members = members_places(len(weights), places)
        return Plan(
            reconfiguration=message["reconfiguration"],
            newcomers=places,
            leaving=tuple(members[number] for number in message["leaving"]),
            parking=tuple(members[number] for number in message["parking"]),
            weights=weights,
            accept_timeout_s=message["accept_timeout_s"],
            ahead=not message["at_once"] and self._registry.constant_bytes() >= ahead.SMALLEST_BYTES,
        )

    def wait_to_join(self, loop: int, maximum: int) -> int | None:
        """Sleep, outside the application, until it lets this rank in at some iteration of ``loop``.

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
        self._maximum = maximum
        self._tell_waiting(loop)
        while True:
            message = self._await_word()
            # A join that fails is the supervisor's to explain; it does not ask this rank again, which waits to be released.
            with suppress(MembershipError):
                match message["kind"]:
                    case "assemble":
                        self._assemble(message)
                    case "prepare":
                        self._prepare(message)
                    case "withdraw":
                        self._registry.depopulate()
                    # A port with an expectation is of newcomers that assemble; this rank could not.
                    case "port" | "welcome" if message.get("expected") is None:
                        welcome = self._changeover.join(message)
                        if welcome is not None:
                            self._begin_with(welcome, loop)
                            return welcome.iteration
                        if self._changeover.linked is None:
                            self._tell_waiting(loop)
                    case "unlink" if self._changeover.linked is not None:
                        self._changeover.unlink()
                    case "skip" if message["loop"] > loop:
                        return None
                    case "release":
                        self._changeover.leave()

    def _begin_with(self, welcome: Welcome, loop: int) -> None:
        """Take over, as a rank that has joined, what the others have agreed on before."""
        self._follow(welcome.counters)
        self._loop, self._length = loop, welcome.interval
        self.next_at = welcome.iteration + welcome.interval
        self._sampler.restart()

    def _await_word(self) -> Message:
        """Sleep until there is something to do; rows that move beside the computation of others arrive meanwhile."""
        kinds = ("assemble", "prepare", "port", "welcome", "unlink", "withdraw", "skip", "release")
        while self.moving:
            self.progress()
            if (message := self._link.await_reply(*kinds, limit_s=ahead.POLL_S)) is not None:
                return message
        return self._link.wait_for(*kinds)

    def _tell_waiting(self, loop: int) -> None:
        self._link.send("waiting", loop=loop, objects=self._registry.descriptors(), digest=self._registry.digest())

    def _assemble(self, message: Message) -> None:
        where = {key: message[key] for key in ("reconfiguration", "position", "count")}
        self.group.control = membership.assemble(self.group.control, self._link, **where)
        self._link.send("assembled", reconfiguration=message["reconfiguration"])

    def _prepare(self, message: Message) -> None:
        """Get the memory for the rows to come, while the application computes on."""
        self._registry.populate(message["weights"], message["places"][self.group.control.rank])
        self._link.send("prepared", reconfiguration=message["reconfiguration"])
