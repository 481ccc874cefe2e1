"""Agreement points, seen from a rank: what all ranks learn together, and the reconfiguration they then carry out.

This is the only place where ranks act on what the supervisor wants. MPI is called from the main thread alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from time import perf_counter
from typing import NoReturn

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from flexmpi.errors import MembershipError, RankLeaves
from flexmpi.runtime import ahead, membership
from flexmpi.runtime.balance import weights_after
from flexmpi.runtime.calls import Clock
from flexmpi.runtime.decisions import Decision, Plan, Welcome
from flexmpi.runtime.distribution import Distribution
from flexmpi.runtime.imagined import Imagined
from flexmpi.runtime.interval import Interval
from flexmpi.runtime.link import Link, Message
from flexmpi.runtime.membership import Group
from flexmpi.runtime.places import members_places
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
        self._loop = self._maximum = 0
        self._told_digest: int | None = None
        self._pending: Message | None = None
        self._completion: Message | None = None
        self._linked: ahead.Linked | None = None
        self._imagined = Imagined()
        self._agreed_on = 0
        self._opened_at = perf_counter()

    @property
    def moving(self) -> bool:
        """Whether rows move beside the computation, so that `progress` is to be called in each iteration."""
        return self._linked is not None and self._linked.moving

    def progress(self) -> None:
        """Let rows that move beside the computation go on; does not wait."""
        if self._linked is not None and self._linked.progress():
            self._phase(self._linked.plan, "ahead")

    def end(self) -> None:
        """End the application: newcomers that are connected, but have not joined, are let go; collective."""
        if self._linked is not None:
            self._unlink()
        self._link.send("finished")
        self.group.disconnect()

    @property
    def _leads(self) -> bool:
        return self.group.control.rank == 0

    def begin_loop(self, loop: int, maximum: int) -> None:
        """Start a loop of at most so many iterations, as a rank of the application; its first is an agreement point."""
        self._loop, self._maximum, self.next_at, self._length = loop, maximum, 0, 0
        if self._linked is not None:
            # Before rows are shared anew, which gives back the memory that others are received into.
            self._linked.move.finish()
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
        decision = self.group.control.bcast(self._decide(iteration))
        self.next_at, self._length = iteration + decision.interval, decision.interval
        if self._linked is not None and (decision.terminate or decision.unlink is not None):
            self._unlink(why=decision.unlink)
        if decision.terminate:
            if self._leads:
                self._link.send("terminating", iteration=iteration)
            self.group.disconnect()
            self._leave()
        if decision.counters is not None:
            self._follow(decision.counters)
        if decision.imagined:
            found = self._registry.bytes_to_move(self.group.control, decision.imagined)
            if self._leads:
                self._link.send("imagined", **self._imagined.answer(found))
        if decision.plan is not None and not self._reconfigure(decision.plan, iteration):
            return self.wait_to_join(self._loop, self._maximum)
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
        load, whole_rows = self._registry.load()
        shares = {"load": load, "whole_rows": whole_rows, "weights": self._registry.weights}
        self._link.send("sample", **where, **shares, **columns)

    def _complete(self, message: Message) -> tuple[Plan | None, str | None]:
        """Return the second step of a reconfiguration, None if it must wait, and why it is given up, if it is."""
        if self._linked is None:
            return None, None
        plan = replace(self._linked.plan, ahead=False)
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

    def _reconfigure(self, plan: Plan, iteration: int) -> bool:
        """Carry a plan out as a rank of the application; False if this rank is parked now."""
        start = perf_counter()
        self._agreed_on = plan.reconfiguration
        self._phase(plan, "agreed")
        bridge, linked, self._linked = self.group.control, self._linked, None
        if linked is not None:
            bridge = linked.bridge
            if self._leads and plan.newcomers:
                self._link.send("welcome", reconfiguration=plan.reconfiguration)
        elif plan.newcomers:
            try:
                bridge = membership.accept(
                    bridge, self._link, reconfiguration=plan.reconfiguration, timeout_s=plan.accept_timeout_s
                )
            except MembershipError as error:
                if self._leads:
                    self._link.send("failed", reconfiguration=plan.reconfiguration, why=str(error))
                return True
        if plan.newcomers:
            distributions, counters = self._registry.distributions(), self._sampler.events
            root = 0 if linked is None else plan.first_member
            bridge.bcast(Welcome(iteration, self._length, plan, distributions, counters), root=root)
            if linked is None:
                bridge = membership.arrange(bridge, plan.newcomers)
            self._phase(plan, "joined")
        if plan.ahead:
            # A communicator of their own, so that rows which are on their way meet no other messages.
            bridge = bridge if plan.newcomers else bridge.Dup()
            self._link_up(bridge, plan, self._registry.distributions(), start=start)
            return True
        return self._carry_out(bridge, plan, iteration, start=start, linked=linked)

    def _link_up(
        self, bridge: MPI.Intracomm, plan: Plan, distributions: dict[int, Distribution], *, start: float
    ) -> None:
        """Take the first step only: constant rows begin to move, the present ranks compute on."""
        move = self._registry.move_ahead(bridge, plan.weights, distributions, newcomers=plan.newcomers)
        self._linked = ahead.Linked(plan, bridge, move, stall_s=perf_counter() - start)
        self._phase(plan, "linked")

    def _unlink(self, *, why: str | None = None) -> None:
        """Let newcomers go that are connected but are not to join; collective."""
        assert self._linked is not None
        linked, self._linked = self._linked, None
        leads, number = linked.bridge.rank == linked.plan.first_member, linked.plan.reconfiguration
        if leads:
            self._link.send("unlink", reconfiguration=number)
        linked.part()
        # The newcomers are ended when the supervisor hears of it: not before all ranks have parted from them.
        self.group.control.Barrier()
        if leads and why is not None:
            self._link.send("failed", reconfiguration=number, why=why)

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
                    case "port" | "welcome":
                        welcome = self._join(loop, message)
                        if welcome is not None:
                            return welcome.iteration
                        if self._linked is None:
                            self._tell_waiting(loop)
                    case "unlink" if self._linked is not None:
                        self._unlink()
                    case "skip" if message["loop"] > loop:
                        return None
                    case "release":
                        self._leave()

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

    def _join(self, loop: int, invitation: Message) -> Welcome | None:
        """Join the application; None if it is the first of two steps, or this rank was not to stay but is parked again."""
        start, linked, self._linked = perf_counter(), self._linked, None
        if linked is None:
            bridge = membership.connect(self.group.control, self._link, invitation)
            welcome: Welcome = bridge.bcast(None, root=0)
            bridge = membership.arrange(bridge, welcome.plan.newcomers)
        else:
            bridge = linked.bridge
            welcome = bridge.bcast(None, root=linked.plan.first_member)
        if welcome.plan.ahead:
            self._phase(welcome.plan, "joined")
            self._link_up(bridge, welcome.plan, welcome.distributions, start=start)
            return None
        self._registry.adopt(welcome.distributions)
        self._follow(welcome.counters)
        self._loop, self._length = loop, welcome.interval
        self.next_at = welcome.iteration + welcome.interval
        self._agreed_on = welcome.plan.reconfiguration
        self._phase(welcome.plan, "joined")
        stays = self._carry_out(bridge, welcome.plan, welcome.iteration, start=start, linked=linked)
        self._sampler.restart()
        return welcome if stays else None

    def _carry_out(
        self, bridge: MPI.Intracomm, plan: Plan, iteration: int, *, start: float, linked: ahead.Linked | None
    ) -> bool:
        """Move the data over ``bridge`` (the transition's ranks), let the leavers go, and take the others' new numbers.

        Rows that have moved since the first step are there already; what that step took counts as part of the whole.

        Returns
        -------
        bool
            False if this rank is parked now.
        """
        joined = perf_counter()
        moved_ahead, earlier_s = (None, 0.0) if linked is None else (linked.move, linked.stall_s)
        moved = self._registry.redistribute(
            bridge,
            plan.weights,
            lambda: self._phase(plan, "moving"),
            newcomers=plan.newcomers,
            ahead=moved_ahead,
        )
        moved_s, received_bytes = moved.move_s, moved.received_bytes
        if plan.newcomers:
            copying = perf_counter()
            received_bytes += self._registry.replicate(bridge, newcomers=plan.newcomers, root=plan.first_member)
            moved_s += perf_counter() - copying
        self._imagined.forget()
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
        elif bridge is not self.group.control:
            bridge.Disconnect()
        parted = perf_counter()
        self._phase(plan, "parted")
        times = [
            joined - start + earlier_s,
            moved.balance_s,
            moved_s,
            parted - parting,
            parted - start + earlier_s,
        ]
        self._report_done(plan, iteration, times, received_bytes)
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
