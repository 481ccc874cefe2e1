"""Answers people: who asks, whether he may, what there is, and what becomes of what he wants."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Protocol

from flexmpi.errors import CommandError, FlexMPIError
from flexmpi.protocol.auth import Identity, may
from flexmpi.protocol.messages import Balance as BalanceCommand
from flexmpi.protocol.messages import Done, Failed, FromAgent, NodeRanks, Rejected
from flexmpi.protocol.messages import Stop as StopCommand
from flexmpi.protocol.replies import Accepted, HistoryList, HistoryRow, Reply, Settings
from flexmpi.protocol.requests import (
    AnyRequest,
    Balance,
    Expand,
    Explain,
    History,
    Jobs,
    Mode,
    Nodes,
    OnJob,
    SetMode,
    SetPolicy,
    SetPowercap,
    Shrink,
    Stop,
    Submit,
    action_of,
)
from flexmpi.protocol.slurm_commands import Submission
from flexmpi.scheduler.byhand import expansion, shrinking
from flexmpi.scheduler.elastic import Decision, View
from flexmpi.scheduler.explanation import explain, power_draw
from flexmpi.scheduler.hostlists import fold_hosts
from flexmpi.scheduler.ledger import Ledger, Member
from flexmpi.scheduler.listing import find_member, job_list, name_of, node_list
from flexmpi.scheduler.orderbook import OrderBook
from flexmpi.scheduler.orders import Order, Stage
from flexmpi.scheduler.policies import POLICIES
from flexmpi.scheduler.policies.capping import growth_left_w
from flexmpi.scheduler.power import Power
from flexmpi.scheduler.state import Snapshot
from flexmpi.scheduler.supply import Territory

CARRIED_OUT_IN: Sequence[Mode] = ("on", "drain")


class Office(Protocol):
    """What the agent offers its desk."""

    ledger: Ledger
    orders: OrderBook
    snapshot: Snapshot
    territory: Territory
    mode: Mode
    policy: str
    power: Power
    operators: frozenset[int]

    def now(self) -> float:
        """Return the time, in seconds of the epoch."""

    def view(self) -> View:
        """Return what a policy would decide by now."""

    def new_id(self) -> str:
        """Return an id for a command."""

    def change_mode(self, mode: Mode) -> None:
        """Put a mode in force."""

    def change_policy(self, name: str) -> None:
        """Put a policy in force; raises CommandError where it cannot work here."""

    def change_power_cap(self, cap_w: float | None) -> None:
        """Put a limit on what all nodes draw together in force, or none."""

    def history(self, job: str | None, entries: int) -> tuple[HistoryRow, ...]:
        """Return what was decided."""

    def submit(self, submission: Submission) -> int:
        """Submit a job to the agent's own manager; raises CommandError where it has none."""

    def answer_later(self, make: Callable[[], Reply], connection: bytes) -> None:
        """Send an answer that takes a while to make, from plain data."""

    def send(self, connection: bytes, message: Reply | FromAgent) -> None:
        """Send a message."""


class Desk:
    """The people's side of the agent.

    Parameters
    ----------
    office
        The agent.
    """

    def __init__(self, office: Office) -> None:
        self._office = office
        self._asked: dict[str, bytes] = {}

    def answer(self, request: AnyRequest, *, who: Identity, connection: bytes) -> None:
        """Answer one request of somebody whose identity is proved."""
        try:
            self._answer(request, who, connection)
        except FlexMPIError as error:
            self._office.send(connection, Rejected(why=str(error)))

    def order_ended(self, order: Order) -> None:
        """Tell whoever wanted an order what became of it."""
        connection = self._asked.pop(order.id, None)
        if connection is None:
            return
        member = self._office.ledger.members.get(order.key)
        ranks = {} if member is None else member.ranks
        nodes = tuple(NodeRanks(node=node, ranks=count) for node, count in ranks.items())
        if order.stage is Stage.DONE:
            self._office.send(connection, Done(id=order.id, cost=order.cost, nodes=nodes))
        else:
            self._office.send(connection, Failed(id=order.id, why=order.why or "", cost=order.cost, nodes=nodes))

    def _answer(self, request: AnyRequest, who: Identity, connection: bytes) -> None:
        office = self._office
        member = self._member(request.job) if isinstance(request, OnJob) else None
        permission = may(
            who.uid,
            action_of(request),
            agent_uid=os.geteuid(),
            job_owner=None if member is None else member.job.uid,
            operators=office.operators,
        )
        if not permission:
            raise CommandError(permission.why)
        match request:
            case Jobs():
                office.send(connection, job_list(office.snapshot, office.ledger, now=office.now()))
            case Nodes():
                office.send(connection, node_list(office.snapshot, office.ledger, territory=office.territory))
            case History():
                named = None if request.job is None else find_member(request.job, office.ledger)
                key = request.job if named is None else named.key
                office.send(connection, HistoryList(entries=office.history(key, request.entries)))
            case SetPolicy(name=None) | SetMode(mode=None):
                office.send(connection, Settings(policy=office.policy, mode=office.mode))
            case SetPowercap(cap_w=None):
                office.send(connection, power_draw(office.view(), office.snapshot))
            case Explain():
                explained = self._member(request.job)
                office.answer_later(partial(explain, explained, office.view(), policy=office.policy), connection)
            case SetPolicy() | SetMode() | SetPowercap() | Submit():
                self._change(request, connection)
            case _ if member is not None:
                self._order(request, member, who, connection)

    def _member(self, name: str) -> Member:
        if (member := find_member(name, self._office.ledger)) is None:
            known = [name_of(each.job) for each in self._office.ledger.members.values()]
            has = f"elastic jobs: {', '.join(known)}" if known else "no elastic job has registered"
            raise CommandError(f"no elastic job {name!r} ({has})")
        return member

    def _order(self, request: AnyRequest, member: Member, who: Identity, connection: bytes) -> None:
        """Order a job to do something, or say what would be ordered."""
        office, order_id = self._office, self._office.new_id()
        cause = f"{request.kind} by {_name_of_user(who.uid)}"
        job = name_of(member.job)
        if isinstance(request, Expand | Shrink):
            view = office.view()
            elastic = view.job_of[member.key]
            decision = expansion(request, elastic, view) if isinstance(request, Expand) else shrinking(request, elastic)
            _require_power(decision, view)
            what = f"job {job}: {decision.summary()}"
        else:
            what = f"job {job}: {request.kind}"
        self._require_possible(request, member)
        accepted = Accepted(id=order_id, what=what, job=job, dry_run=request.dry_run)
        if not request.dry_run:
            if isinstance(request, Expand | Shrink):
                office.orders.resize(decision, cause=cause, order_id=order_id, uid=who.uid)
            else:
                command = BalanceCommand if isinstance(request, Balance) else StopCommand
                office.orders.command(member, command, cause=cause, order_id=order_id, uid=who.uid)
            self._asked[order_id] = connection
        office.send(connection, accepted)

    def _require_possible(self, request: AnyRequest, member: Member) -> None:
        """Refuse what the mode does not let through, or another order stands in the way of; a job can be stopped at any time."""
        office, orders = self._office, self._office.ledger.orders_of(member.key)
        if isinstance(request, Stop):
            orders = [order for order in orders if isinstance(order.command, StopCommand)]
        elif office.mode not in CARRIED_OUT_IN:
            raise CommandError(f"the agent is in mode {office.mode} and orders nothing (flexmpi mode on changes that)")
        if office.mode == "drain" and isinstance(request, Expand):
            raise CommandError("the agent is in mode drain and gives out nothing (flexmpi mode on changes that)")
        if orders:
            raise CommandError(f"the job has an order under way: {orders[0].what}")

    def _change(self, request: SetPolicy | SetMode | SetPowercap | Submit, connection: bytes) -> None:
        """Change what the agent does, or take in a job."""
        office, order_id = self._office, self._office.new_id()
        what, job = "", None
        match request:
            case SetPolicy(name=str(name)):
                if name not in POLICIES:
                    raise CommandError(f"unknown policy {name!r} (there are {', '.join(POLICIES)})")
                what = f"policy {name}"
                if not request.dry_run:
                    office.change_policy(name)
            case SetMode(mode=str(mode)):
                what = f"mode {mode}"
                if not request.dry_run:
                    office.change_mode(mode)
            case SetPowercap(cap_w=cap_w):
                what = self._change_power_cap(cap_w, dry_run=request.dry_run)
            case Submit():
                submission = request.submission()
                what = f"submit {submission.name or 'a job'}"
                if not request.dry_run:
                    job = str(office.submit(submission))
                    what = f"submit job {job}"
        office.send(connection, Accepted(id=order_id, what=what, job=job, dry_run=request.dry_run))
        if not request.dry_run:
            office.send(connection, Done(id=order_id))

    def _change_power_cap(self, cap_w: float | str | None, *, dry_run: bool) -> str:
        """Put a power cap in force, if it is not for a dry run; return what that is."""
        watts = cap_w if isinstance(cap_w, float) else None
        if watts is not None and not self._office.power.declared:
            raise CommandError("no watts of nodes are declared: the settings need [[power.classes]]")
        if not dry_run:
            self._office.change_power_cap(watts)
        return "power cap none" if watts is None else f"power cap {watts:g} W"


@cache
def _name_of_user(uid: int) -> str:
    """Return a user's name; ``uid 1234`` where this system has none for him."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _require_power(decision: Decision, view: View) -> None:
    """Refuse growth that the power cap has no room for."""
    unknown = [node for node in decision.add if not view.power.may_be_given(node)]
    if unknown:
        raise CommandError(f"there is a power cap, and no watts are declared for {fold_hosts(unknown)}")
    more_w, left_w = view.power.dynamic_w(decision.add), growth_left_w(view)
    if more_w > max(0.0, left_w):
        cap_w = view.power.cap_w
        raise CommandError(
            f"that would draw {more_w:g} W more, and the power cap of {cap_w:g} W leaves {max(0.0, left_w):g} W"
        )
