"""Answers people: who asks, whether he may, what there is, and what becomes of what he wants."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import partial
from typing import Protocol

from flexmpi.cluster.state import Job, Snapshot, name_of
from flexmpi.cluster.submission import Submission
from flexmpi.errors import CommandError, FlexMPIError
from flexmpi.protocol.auth import Identity, may
from flexmpi.protocol.messages import Done, FromAgent, Rejected
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
from flexmpi.scheduler.deciding.elastic import View
from flexmpi.scheduler.deciding.policies import POLICIES
from flexmpi.scheduler.deciding.power import Power
from flexmpi.scheduler.deciding.supply import Territory
from flexmpi.scheduler.jobs.ledger import Ledger, Member
from flexmpi.scheduler.jobs.orders import Order
from flexmpi.scheduler.ordering.orderbook import OrderBook
from flexmpi.scheduler.requests.explanation import explain, power_draw
from flexmpi.scheduler.requests.listing import find_member, job_list, node_list
from flexmpi.scheduler.requests.turns import Turns
from flexmpi.trust.users import name_of_user

log = logging.getLogger("flexmpi.agent")

TAKES_NO_JOBS = "this agent takes no jobs: submit them with sbatch"
NAMED = 10
"""So many elastic jobs are named to somebody who means none of them."""


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
    takes_jobs: bool

    def now(self) -> float:
        """Return the time, in seconds of the epoch."""

    def view(self) -> View:
        """Return what a policy would decide by now."""

    def new_id(self) -> str:
        """Return an id for a command."""

    def change_mode(self, mode: Mode) -> None:
        """Put a mode in force."""

    def change_policy(self, name: str, *, dry_run: bool) -> None:
        """Put a policy in force, unless this is a dry run; raises CommandError where it cannot work here."""

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
        self._turns = Turns(office)

    def answer(self, request: AnyRequest, *, who: Identity, connection: bytes) -> None:
        """Answer one request of somebody whose identity is proved."""
        try:
            self._answer(request, who, connection)
        except FlexMPIError as error:
            named = getattr(request, "job", None)
            what = request.kind if named is None else f"{request.kind} {named}"
            log.warning("%s by %s is refused: %s", what, name_of_user(who.uid), error)
            self._office.send(connection, Rejected(why=str(error)))

    def order_ended(self, order: Order) -> None:
        """Tell whoever wanted an order what became of it."""
        self._turns.order_ended(order)

    def _answer(self, request: AnyRequest, who: Identity, connection: bytes) -> None:
        office = self._office
        if isinstance(request, Submit) and not office.takes_jobs:
            raise CommandError(TAKES_NO_JOBS)
        member = self._member(request.job) if isinstance(request, OnJob) else None
        permission = may(
            who.uid,
            action_of(request),
            agent_uid=os.geteuid(),
            job_owner=None if member is None else member.job.uid,
            operators=office.operators,
            name_of=name_of_user,
        )
        if not permission:
            raise CommandError(permission.why)
        match request:
            case Jobs():
                office.send(
                    connection, job_list(office.snapshot, office.ledger, now=office.now(), waiting=self._turns.waiting)
                )
            case Nodes():
                office.send(
                    connection,
                    node_list(office.snapshot, office.ledger, territory=office.territory, power=office.power),
                )
            case History():
                office.send(connection, HistoryList(entries=office.history(request.job, request.entries)))
            case SetPolicy(name=None) | SetMode(mode=None):
                office.send(connection, Settings(policy=office.policy, mode=office.mode))
            case SetPowercap(cap_w=None):
                office.send(connection, power_draw(office.view(), office.snapshot))
            case Explain():
                explained = self._member(request.job)
                office.answer_later(partial(explain, explained, office.view(), policy=office.policy), connection)
            case SetPolicy() | SetMode() | SetPowercap() | Submit():
                self._change(request, who, connection)
            case Expand() | Shrink() | Balance() | Stop() if member is not None:
                self._turns.order(request, member, who=who, connection=connection)

    def _member(self, name: str) -> Member:
        if (member := find_member(name, self._office.ledger)) is None:
            raise CommandError(f"no elastic job {name!r} ({self._known()})")
        if name == str(member.job.array_job_id) and (others := self._names(member.job.array_job_id))[1:]:
            raise CommandError(f"{name} is a job array, name one of its jobs: {_some(others)}")
        return member

    def _known(self) -> str:
        known = self._names(None)
        return f"elastic jobs: {_some(known)}" if known else "no elastic job has registered"

    def _names(self, array_job_id: int | None) -> list[str]:
        """Return what people call the elastic jobs: all, or those of a job array."""
        jobs = sorted((member.job for member in self._office.ledger.members.values()), key=_place)
        return [name_of(job) for job in jobs if array_job_id in (None, job.array_job_id)]

    def _change(self, request: SetPolicy | SetMode | SetPowercap | Submit, who: Identity, connection: bytes) -> None:
        """Change what the agent does, or take in a job."""
        office, order_id = self._office, self._office.new_id()
        what, job = "", None
        match request:
            case SetPolicy(name=str(name)):
                if name not in POLICIES:
                    raise CommandError(f"unknown policy {name!r} (there are {', '.join(POLICIES)})")
                what = f"policy {name}"
                office.change_policy(name, dry_run=request.dry_run)
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
            log.info("%s by %s", what, name_of_user(who.uid))
            office.send(connection, Done(id=order_id))

    def _change_power_cap(self, cap_w: float | str | None, *, dry_run: bool) -> str:
        """Put a power cap in force, if it is not for a dry run; return what that is."""
        watts = cap_w if isinstance(cap_w, float) else None
        if watts is not None and not self._office.power.watts:
            raise CommandError("no watts of nodes are declared: the settings need [[power.classes]]")
        if not dry_run:
            self._office.change_power_cap(watts)
        return "power cap none" if watts is None else f"power cap {watts:g} W"


def _place(job: Job) -> tuple[int, int]:
    return (job.array_job_id or job.job_id, job.array_task_id or 0)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"
