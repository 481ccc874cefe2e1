"""Agreement points of an application whose ranks change by joining worlds: newcomers connect, leavers part.

A reconfiguration is carried out in ``changeover``.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

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
from flexmpi.runtime.joining.plan import Plan
from flexmpi.runtime.rank.agreement import Agreement


@dataclass(frozen=True)
class Joining:
    """What all ranks learn of a change: its plan, or why the newcomers that are connected are not to join after all."""

    plan: Plan | None
    unlink: str | None = None


class JoiningAgreement(Agreement):
    """One rank's part in the agreement points, where changes are joins and partings."""

    def __init__(self, link: Link, registry: Registry, clock: Clock, interval: Interval, group: Group) -> None:
        super().__init__(link, registry, clock, interval)
        self._pending: Message | None = None
        self._completion: Message | None = None
        self._changeover = Changeover(link, registry, group, on_change=self._changed)

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

    def _share_rows(self) -> bool:
        self._changeover.finish_moving()
        return self._registry.share_by_cost(self.group.control)

    def _before_end(self, change: object, *, terminate: bool) -> None:
        """Let go of newcomers that are connected, but are not to join."""
        unlink = change.unlink if isinstance(change, Joining) else None
        if self._changeover.linked is not None and (terminate or unlink is not None):
            self._changeover.unlink(why=unlink)

    def _leave(self) -> None:
        self.group.disconnect()
        self._changeover.leave()

    def _carry_out(self, change: object, iteration: int) -> int | None:
        assert isinstance(change, Joining)
        if change.plan is None or self._changeover.carry_out(
            change.plan, iteration, interval=self._length, counters=self._sampler.events
        ):
            return iteration
        self._imagined.forget()
        return self.wait_to_begin(self._loop, self._maximum)

    def _note(self, message: Message) -> None:
        if message["kind"] == "reconfigure":
            self._pending = message
        elif message["kind"] == "complete":
            self._completion = message
        elif message["kind"] == "withdraw":
            self._withdraw(message["reconfiguration"])

    def _propose(self, iteration: int, *, interval: int, terminate: bool) -> tuple[int, Joining | None]:
        plan, unlink = None, None
        if self._completion is not None and not terminate:
            plan, unlink = self._complete(self._completion)
            self._completion = None
        elif self._pending is not None and iteration < self._pending["at_iteration"]:
            interval = min(interval, self._pending["at_iteration"] - iteration)
        elif self._pending is not None and not terminate:
            plan, self._pending = self._accept_plan(self._pending), None
        return interval, None if plan is None and unlink is None else Joining(plan, unlink)

    def _withdraw(self, reconfiguration: int) -> None:
        """Forget an offer, unless this comes too late: what was agreed on has been answered already."""
        self._pending = None
        if reconfiguration != self._changeover.agreed_on:
            self._link.send("failed", reconfiguration=reconfiguration, why="it was withdrawn")

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
        deferred = self._is_elsewhere(loop=message["loop"], digest=message["digest"])
        if deferred:
            self._link.send("deferred", reconfiguration=message["reconfiguration"], loop=self._loop)
        return deferred

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

    def wait_to_begin(self, loop: int, maximum: int) -> int | None:
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
                            where = {"iteration": welcome.iteration, "interval": welcome.interval}
                            self._begin_with(loop=loop, counters=welcome.counters, **where)
                            return welcome.iteration
                        if self._changeover.linked is None:
                            self._tell_waiting(loop)
                    case "unlink" if self._changeover.linked is not None:
                        self._changeover.unlink()
                    case "skip" if message["loop"] > loop:
                        return None
                    case "release":
                        self._changeover.leave()

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
