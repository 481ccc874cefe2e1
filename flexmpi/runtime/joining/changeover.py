"""A reconfiguration, carried out: how one rank joins, has its data moved, and takes a new number or leaves.

What is to be done has been agreed on (see ``agreement``). MPI is called from the main thread alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from time import perf_counter
from typing import NoReturn

import numpy as np
from mpi4py import MPI

from flexmpi.errors import MembershipError, RankLeaves
from flexmpi.runtime.arrays.distribution import Distribution
from flexmpi.runtime.arrays.registry import Moved, Registry
from flexmpi.runtime.communication.group import Group
from flexmpi.runtime.communication.link import Link, Message
from flexmpi.runtime.joining import ahead, membership
from flexmpi.runtime.joining.plan import Plan, Welcome


class Changeover:
    """One rank's part in reconfigurations.

    Parameters
    ----------
    on_change
        Called after rows or ranks have changed.

    Attributes
    ----------
    group
        The ranks this one computes with.
    linked
        What it has between the two steps of a reconfiguration; None where none is there.
    agreed_on
        The latest reconfiguration that was agreed on; 0 before the first.
    """

    def __init__(self, link: Link, registry: Registry, group: Group, *, on_change: Callable[[], None]) -> None:
        self.group = group
        self.linked: ahead.Linked | None = None
        self.agreed_on = 0
        self._link = link
        self._registry = registry
        self._on_change = on_change

    @property
    def moving(self) -> bool:
        """Whether rows move beside the computation, so that `progress` is to be called in each iteration."""
        return self.linked is not None and self.linked.moving

    def progress(self) -> None:
        """Let rows that move beside the computation go on; does not wait."""
        if self.linked is not None and self.linked.progress():
            self._phase(self.linked.plan, "ahead")

    def finish_moving(self) -> None:
        """Wait for rows that still move, before all are shared anew, which gives back the memory that they are received into."""
        if self.linked is not None and self.linked.moving:
            self.linked.move.finish()
            self.progress()

    def carry_out(self, plan: Plan, iteration: int, *, interval: int, counters: tuple[str, ...]) -> bool:
        """Carry a plan out, before ``iteration``, as a rank of the application; collective.

        Parameters
        ----------
        interval, counters
            Iterations to the next agreement point, and the hardware events that are counted: for newcomers.

        Returns
        -------
        bool
            False if this rank is parked now.

        Raises
        ------
        RankLeaves
            This rank is no longer part of the application.
        """
        start = perf_counter()
        self.agreed_on = plan.reconfiguration
        self._phase(plan, "agreed")
        bridge, linked, self.linked = self.group.control, self.linked, None
        if linked is not None:
            bridge = linked.bridge
            if self.group.control.rank == 0 and plan.newcomers:
                self._link.send("welcome", reconfiguration=plan.reconfiguration)
        elif plan.newcomers:
            try:
                bridge = membership.accept(
                    bridge, self._link, reconfiguration=plan.reconfiguration, timeout_s=plan.accept_timeout_s
                )
            except MembershipError as error:
                if self.group.control.rank == 0:
                    self._link.send("failed", reconfiguration=plan.reconfiguration, why=str(error))
                return True
        if plan.newcomers:
            distributions = self._registry.distributions()
            root = 0 if linked is None else plan.first_member
            bridge.bcast(Welcome(iteration, interval, plan, distributions, counters), root=root)
            if linked is None:
                bridge = membership.arrange(bridge, plan.newcomers)
            self._phase(plan, "joined")
        if plan.ahead:
            # A communicator of their own, so that rows which are on their way meet no other messages.
            bridge = bridge if plan.newcomers else bridge.Dup()
            self._link_up(bridge, plan, self._registry.distributions(), start=start)
            return True
        return self._change(bridge, plan, iteration, start=start, linked=linked)

    def _link_up(
        self, bridge: MPI.Intracomm, plan: Plan, distributions: dict[int, Distribution], *, start: float
    ) -> None:
        """Take the first step only: constant rows begin to move, the present ranks compute on."""
        move = ahead.move_ahead(bridge, plan, self._registry, distributions)
        self.linked = ahead.Linked(plan, bridge, move, stall_s=perf_counter() - start)
        self._phase(plan, "linked")
        # Newcomers have had memory for dense arrays since before they were let in; of matrices they know only now.
        if bridge.rank in plan.newcomers:
            move.populate()

    def unlink(self, *, why: str | None = None) -> None:
        """Let newcomers go that are connected but are not to join; collective."""
        assert self.linked is not None
        linked, self.linked = self.linked, None
        leads, number = linked.bridge.rank == linked.plan.first_member, linked.plan.reconfiguration
        if leads:
            self._link.send("unlink", reconfiguration=number)
        linked.part()
        # The newcomers are ended when the supervisor hears of it: not before all ranks have parted from them.
        self.group.control.Barrier()
        if leads and why is not None:
            self._link.send("failed", reconfiguration=number, why=why)

    def join(self, invitation: Message) -> Welcome | None:
        """Join the application.

        Returns
        -------
        Welcome or None
            None if it is the first of two steps, or this rank was not to stay but is parked again.

        Raises
        ------
        MembershipError
            The application does not let newcomers in any more.
        RankLeaves
            This rank was not to stay.
        """
        start, linked, self.linked = perf_counter(), self.linked, None
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
        self.agreed_on = welcome.plan.reconfiguration
        self._phase(welcome.plan, "joined")
        stays = self._change(bridge, welcome.plan, welcome.iteration, start=start, linked=linked)
        return welcome if stays else None

    def _change(
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
        earlier_s = 0.0 if linked is None else linked.stall_s
        moved = self._move(bridge, plan, None if linked is None else linked.move)
        parting = perf_counter()
        if not self._renumber(bridge, plan):
            return False
        parted = perf_counter()
        self._phase(plan, "parted")
        stalls_s = [
            joined - start + earlier_s,
            moved.balance_s,
            moved.move_s,
            parted - parting,
            parted - start + earlier_s,
        ]
        self._report_done(plan, iteration, stalls_s, moved.received_bytes)
        self._on_change()
        return True

    def _move(self, bridge: MPI.Intracomm, plan: Plan, moved_ahead: ahead.MoveAhead | None) -> Moved:
        """Move all data; newcomers also get copies of what is the same on all ranks."""
        moved = self._registry.redistribute(
            bridge,
            plan.weights,
            lambda: self._phase(plan, "moving"),
            newcomers=plan.newcomers,
            ahead=moved_ahead,
        )
        if plan.newcomers:
            copying = perf_counter()
            copied_bytes = self._registry.replicate(bridge, newcomers=plan.newcomers, root=plan.first_member)
            move_s = moved.move_s + perf_counter() - copying
            moved = replace(moved, move_s=move_s, received_bytes=moved.received_bytes + copied_bytes)
        self._phase(plan, "moved")
        return moved

    def _renumber(self, bridge: MPI.Intracomm, plan: Plan) -> bool:
        """Part from those who leave, and from the communicators of before; False if this rank is parked now."""
        if plan.newcomers or plan.leaving:
            number, rest = bridge.rank, self._regroup(bridge, plan)
            if rest is None:
                self._registry.forget_ranks()
                if number not in plan.parking:
                    self.leave()
                self.group = Group.of(MPI.COMM_SELF.Dup())
                return False
            self.group = Group.of(rest)
            self._registry.close_ranks(plan.leaving, rest.rank)
        elif bridge is not self.group.control:
            bridge.Disconnect()
        return True

    def _regroup(self, bridge: MPI.Intracomm, plan: Plan) -> MPI.Intracomm | None:
        """Part from the present communicators and return that of the ranks that stay; None in those that leave."""
        rest = membership.part(bridge, plan.leaving) if plan.leaving else bridge
        self.group.part()
        if self.group.control is not bridge:
            self.group.control.Disconnect()
        if rest is not bridge:
            bridge.Disconnect()
        return rest

    def _report_done(self, plan: Plan, iteration: int, stalls_s: list[float], received_bytes: int) -> None:
        """Tell the supervisor, from the new rank 0, when all ranks have arrived: the slowest rank's times, everybody's bytes."""
        control = self.group.control
        mine, slowest, total = np.array(stalls_s), np.empty(len(stalls_s)), np.empty(1, dtype=np.int64)
        control.Reduce(mine, slowest, op=MPI.MAX)
        control.Reduce(np.array([received_bytes]), total)
        if control.rank == 0:
            names = ("join_s", "balance_s", "move_s", "part_s", "stall_s")
            figures = dict(zip(names, slowest.tolist(), strict=True))
            self._link.send(
                "done", reconfiguration=plan.reconfiguration, iteration=iteration, bytes=int(total[0]), **figures
            )

    def leave(self) -> NoReturn:
        """Unwind; a ``finally`` block that asks for its rank must not take itself for rank 0."""
        self.group = Group.nobody()
        raise RankLeaves

    def _phase(self, plan: Plan, phase: str) -> None:
        self._link.send("phase", reconfiguration=plan.reconfiguration, phase=phase)
