"""Agreement points, seen from a rank: what all ranks learn together, and the reconfiguration they then carry out.

This is the only place where ranks act on what the supervisor wants. MPI is called from the main thread alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import perf_counter
from typing import NoReturn

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from flexmpi.errors import MembershipError, RankLeaves
from flexmpi.runtime import membership
from flexmpi.runtime.balance import weights_after
from flexmpi.runtime.communicator import Clock
from flexmpi.runtime.decisions import Decision, Plan, Welcome
from flexmpi.runtime.interval import Interval
from flexmpi.runtime.link import Link, Message
from flexmpi.runtime.membership import Group
from flexmpi.runtime.registry import Registry
from flexmpi.runtime.sampling import Sampler, as_columns


class Agreement:
    """One rank's part in the agreement points of an elastic application.

    Attributes
    ----------
    group
        The ranks this one computes with.
    next_at
        The iteration number of the next agreement point.
    reconfigured
        Called after rows or ranks have changed.
    """

    def __init__(self, link: Link, registry: Registry, clock: Clock, interval: Interval, group: Group) -> None:
        self.group = group
        self.next_at = 0
        self.reconfigured: Callable[[], None] = lambda: None
        self._link = link
        self._registry = registry
        self._clock = clock
        self._interval = interval
        self._length = 0
        self._sampler = Sampler(clock)
        self._follow(os.environ.get("FLEXMPI_COUNTERS", "").split())
        self._loop = 0
        self._told_digest: int | None = None
        self._pending: Message | None = None
        self._agreed_on = 0
        self._opened_at = perf_counter()

    @property
    def _leads(self) -> bool:
        return self.group.control.rank == 0

    def begin_loop(self, loop: int) -> None:
        """Start a loop as a rank of the application; its first iteration is an agreement point."""
        self._loop, self.next_at, self._length = loop, 0, 0
        if self._registry.share_by_cost(self.group.control):
            self.reconfigured()
        if loop == 0:
            self._link.send("loaded", seconds=perf_counter() - self._opened_at)
        if self._leads:
            self._tell_loop()

    def _tell_loop(self) -> None:
        self._told_digest = self._registry.digest()
        self._link.send("loop", loop=self._loop, objects=self._registry.descriptors(), digest=self._told_digest)

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
        decision = self.group.control.bcast(self._decide(iteration))
        self.next_at, self._length = iteration + decision.interval, decision.interval
        if decision.terminate:
            self.group.disconnect()
            self._leave()
        if decision.counters is not None:
            self._follow(decision.counters)
        if decision.plan is not None and not self._reconfigure(decision.plan, iteration):
            return self.wait_to_join(self._loop)
        self._sampler.restart()
        return iteration

    def _decide(self, iteration: int) -> Decision | None:
        sample = self._sampler.take().as_array()
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
            elif message["kind"] == "withdraw":
                self._withdraw(message["reconfiguration"])
            elif message["kind"] == "counters":
                counters = tuple(message["events"])
            elif message["kind"] == "terminate":
                terminate = True
                self._link.send("terminating", iteration=iteration)
        plan = None
        if self._pending is not None and iteration < self._pending["at_iteration"]:
            interval = min(interval, self._pending["at_iteration"] - iteration)
        elif self._pending is not None and not terminate:
            plan, self._pending = self._accept_plan(self._pending), None
        if self._length:
            self._report(iteration, gathered, next_at=iteration + interval)
        return Decision(interval, plan, terminate, counters)

    def _follow(self, events: Sequence[str]) -> None:
        """Count these hardware events from now on, as all ranks do, and say which of them this one cannot count."""
        if tuple(events) != self._sampler.events:
            self._sampler.follow(events)
            if self._sampler.refused:
                self._link.send("uncounted", refused=self._sampler.refused)

    def _withdraw(self, reconfiguration: int) -> None:
        """Forget an offer, unless this comes too late: what was agreed on has been answered already."""
        self._pending = None
        if reconfiguration != self._agreed_on:
            self._link.send("failed", reconfiguration=reconfiguration, why="it was withdrawn")

    def _report(self, iteration: int, gathered: NDArray[np.float64], *, next_at: int) -> None:
        columns = as_columns(gathered, self._sampler.events)
        where = {"loop": self._loop, "iteration": iteration, "iterations": self._length, "next_at": next_at}
        shares = {"load": self._registry.load(), "weights": self._registry.weights}
        self._link.send("sample", **where, **shares, **columns)

    def _accept_plan(self, message: Message) -> Plan | None:
        """Take the supervisor's plan, unless the newcomers wait in another loop or know other objects, or cannot be served."""
        if self._registry.digest() != self._told_digest:
            self._tell_loop()
        newcomers = message["newcomers"]
        if newcomers and (problem := self._registry.immovable()):
            self._link.send("failed", reconfiguration=message["reconfiguration"], why=problem)
            return None
        if newcomers and (message["loop"] != self._loop or message["digest"] != self._told_digest):
            self._link.send("deferred", reconfiguration=message["reconfiguration"], loop=self._loop)
            return None
        present = message["weights"] or self._registry.weights
        weights = weights_after(present, leaving=message["leaving"], newcomers=newcomers)
        return Plan(
            reconfiguration=message["reconfiguration"],
            newcomers=len(newcomers),
            leaving=tuple(message["leaving"]),
            parking=tuple(message["parking"]),
            weights=weights,
            accept_timeout_s=message["accept_timeout_s"],
        )

    def _reconfigure(self, plan: Plan, iteration: int) -> bool:
        """Carry a plan out as a rank of the application; False if this rank is parked now."""
        start = perf_counter()
        self._agreed_on = plan.reconfiguration
        self._phase(plan, "agreed")
        bridge = self.group.control
        if plan.newcomers:
            try:
                bridge = membership.accept(
                    bridge, self._link, reconfiguration=plan.reconfiguration, timeout_s=plan.accept_timeout_s
                )
            except MembershipError as error:
                if self._leads:
                    self._link.send("failed", reconfiguration=plan.reconfiguration, why=str(error))
                return True
            distributions, counters = self._registry.distributions(), self._sampler.events
            bridge.bcast(Welcome(iteration, self._length, plan, distributions, counters), root=0)
            self._phase(plan, "joined")
        return self._carry_out(bridge, plan, iteration, start=start)

    def wait_to_join(self, loop: int) -> int | None:
        """Sleep, outside the application, until it lets this rank in at some iteration of ``loop``.

        Returns
        -------
        int or None
            The iteration to start with; None if the application is past this loop.

        Raises
        ------
        RankLeaves
            The application does not need this rank, or has ended.
        """
        self._tell_waiting(loop)
        while True:
            message = self._link.wait_for("assemble", "prepare", "port", "withdraw", "skip", "release")
            # A join that fails is the supervisor's to explain; it does not ask this rank again, which waits to be released.
            with suppress(MembershipError):
                match message["kind"]:
                    case "assemble":
                        self._assemble(message)
                    case "prepare":
                        self._prepare(message)
                    case "withdraw":
                        self._registry.depopulate()
                    case "port":
                        welcome = self._join(loop, message)
                        if welcome is not None:
                            return welcome.iteration
                        self._tell_waiting(loop)
                    case "skip" if message["loop"] > loop:
                        return None
                    case "release":
                        self._leave()

    def _tell_waiting(self, loop: int) -> None:
        self._link.send("waiting", loop=loop, objects=self._registry.descriptors(), digest=self._registry.digest())

    def _assemble(self, message: Message) -> None:
        where = {key: message[key] for key in ("reconfiguration", "position", "count")}
        self.group.control = membership.assemble(self.group.control, self._link, **where)
        self._link.send("assembled", reconfiguration=message["reconfiguration"])

    def _prepare(self, message: Message) -> None:
        """Get the memory for the rows to come, while the application computes on."""
        weights, newcomers = message["weights"], self.group.control
        self._registry.populate(weights, len(weights) - newcomers.size + newcomers.rank)
        self._link.send("prepared", reconfiguration=message["reconfiguration"])

    def _join(self, loop: int, invitation: Message) -> Welcome | None:
        """Join the application; None if this rank was not to stay but is parked again."""
        start = perf_counter()
        bridge = membership.connect(self.group.control, self._link, invitation)
        welcome: Welcome = bridge.bcast(None, root=0)
        self._registry.adopt(welcome.distributions)
        self._follow(welcome.counters)
        self._loop, self._length = loop, welcome.interval
        self.next_at = welcome.iteration + welcome.interval
        self._agreed_on = welcome.plan.reconfiguration
        self._phase(welcome.plan, "joined")
        stays = self._carry_out(bridge, welcome.plan, welcome.iteration, start=start)
        self._sampler.restart()
        return welcome if stays else None

    def _carry_out(self, bridge: MPI.Intracomm, plan: Plan, iteration: int, *, start: float) -> bool:
        """Move the data over ``bridge`` (the transition's ranks), let the leavers go, and take the others' new numbers.

        Returns
        -------
        bool
            False if this rank is parked now.
        """
        joined = perf_counter()
        moved = self._registry.redistribute(bridge, plan.weights, lambda: self._phase(plan, "moving"))
        if plan.newcomers:
            self._registry.replicate(bridge, first_newcomer=bridge.size - plan.newcomers)
        self._phase(plan, "moved")
        parting, number = perf_counter(), bridge.rank
        if plan.newcomers or plan.leaving:
            rest = self._regroup(bridge, plan)
            if rest is None:
                self._registry.forget_ranks()
                if number not in plan.parking:
                    self._leave()
                self.group = Group.of(MPI.COMM_SELF.Dup(), self._clock)
                return False
            self.group = Group.of(rest, self._clock)
            self._registry.close_ranks(plan.leaving, rest.rank)
        parted = perf_counter()
        self._phase(plan, "parted")
        times = [joined - start, moved.balance_s, moved.move_s, parted - parting, parted - start]
        self._report_done(plan, iteration, times, moved.received_bytes)
        self.reconfigured()
        return True

    def _regroup(self, bridge: MPI.Intracomm, plan: Plan) -> MPI.Intracomm | None:
        """Part from the present communicators and return that of the ranks that stay; None in those that leave."""
        rest = membership.part(bridge, plan.leaving) if plan.leaving else bridge
        self.group.comm.close()
        if self.group.control is not bridge:
            self.group.control.Disconnect()
        if rest is not bridge:
            bridge.Disconnect()
        return rest

    def _report_done(self, plan: Plan, iteration: int, times: list[float], received_bytes: int) -> None:
        """Tell the supervisor, from the new rank 0, when all ranks have arrived: the slowest rank's times, everybody's bytes."""
        control = self.group.control
        mine, slowest, total = np.array(times), np.empty(len(times)), np.empty(1, dtype=np.int64)
        control.Reduce(mine, slowest, op=MPI.MAX)
        control.Reduce(np.array([received_bytes]), total)
        if control.rank == 0:
            names = ("join_s", "balance_s", "move_s", "part_s", "stall_s")
            figures = dict(zip(names, slowest.tolist(), strict=True))
            self._link.send(
                "done", reconfiguration=plan.reconfiguration, iteration=iteration, bytes=int(total[0]), **figures
            )

    def _leave(self) -> NoReturn:
        """Unwind; a ``finally`` block that asks for its rank must not take itself for rank 0."""
        self.group = Group.nobody(self._clock)
        raise RankLeaves

    def _phase(self, plan: Plan, phase: str) -> None:
        self._link.send("phase", reconfiguration=plan.reconfiguration, phase=phase)
