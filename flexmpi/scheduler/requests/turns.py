"""What people want of a job, one order at a time: at once, or in their turn when another is under way.

What becomes of each is in the journal, and whoever asked is told. What waits has no nodes promised: they are chosen anew
when its turn comes (`byhand`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from flexmpi.cluster.state import Snapshot, name_of
from flexmpi.errors import CommandError
from flexmpi.protocol.auth import Identity
from flexmpi.protocol.messages import Balance as BalanceCommand
from flexmpi.protocol.messages import Done, Failed, FromAgent, NodeRanks
from flexmpi.protocol.messages import Stop as StopCommand
from flexmpi.protocol.replies import Accepted, Reply
from flexmpi.protocol.requests import Balance, Expand, Mode, Shrink, Stop
from flexmpi.scheduler.deciding.elastic import Decision, View
from flexmpi.scheduler.jobs.ledger import Ledger, Member
from flexmpi.scheduler.jobs.orders import Order, Stage
from flexmpi.scheduler.ordering.orderbook import OrderBook
from flexmpi.scheduler.requests.byhand import as_after, expansion, now_of, require_power, shrinking, takes_back
from flexmpi.trust.users import name_of_user

CARRIED_OUT_IN: tuple[Mode, ...] = ("on", "drain")
LONGEST_LINE = 16
"""So many orders of people wait for one job, at most."""

Wanted = Expand | Shrink | Balance | Stop


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """An order that waits for its turn.

    Attributes
    ----------
    decision
        What was to be done when it was accepted; None where no nodes are concerned.
    """

    id: str
    request: Wanted
    decision: Decision | None
    what: str
    cause: str
    uid: int


class Office(Protocol):
    """What the agent offers."""

    ledger: Ledger
    orders: OrderBook
    snapshot: Snapshot
    mode: Mode

    def now(self) -> float:
        """Return the time, in seconds of the epoch."""

    def view(self) -> View:
        """Return what a policy would decide by now."""

    def new_id(self) -> str:
        """Return an id for a command."""

    def send(self, connection: bytes, message: Reply | FromAgent) -> None:
        """Send a message."""


class Turns:
    """The orders of people.

    Whenever the agent waits for something and a line is not empty, an order on that job is open: so no policy comes between.

    Parameters
    ----------
    office
        The agent.
    """

    def __init__(self, office: Office) -> None:
        self._office = office
        self._lines: dict[str, deque[Waiting]] = {}
        self._asked: dict[str, bytes] = {}

    @property
    def waiting(self) -> Mapping[str, int]:
        """How many orders wait for each job, by its key."""
        return {key: len(line) for key, line in self._lines.items()}

    def order(self, request: Wanted, member: Member, *, who: Identity, connection: bytes) -> None:
        """Order a job to do something, now or in its turn; or say what would be ordered.

        Raises
        ------
        CommandError
            It is not possible.
        """
        office, key = self._office, member.key
        self._require_possible(request, member)
        line = self._lines.get(key, deque())
        decision = self._decision(request, member, line)
        wanted = Waiting(
            id=office.new_id(),
            request=request,
            decision=decision,
            what=f"job {name_of(member.job)}: {request.kind if decision is None else decision.summary()}",
            cause=f"{request.kind} by {name_of_user(who.uid)}",
            uid=who.uid,
        )
        ahead = [] if isinstance(request, Stop) else [*(order.what for order in office.ledger.orders_of(key))]
        ahead += [other.what for other in line] if ahead else []
        if len(line) >= LONGEST_LINE and ahead:
            raise CommandError(f"{len(line)} orders wait for this job already, the last is: {line[-1].what}")
        if not request.dry_run:
            self._asked[wanted.id] = connection
            if ahead:
                office.orders.accept(member, what=wanted.what, cause=wanted.cause, order_id=wanted.id, uid=who.uid)
                self._lines.setdefault(key, line).append(wanted)
            else:
                self._give(wanted, decision, member, is_accepted=False)
        accepted = Accepted(
            id=wanted.id,
            what=wanted.what,
            job=name_of(member.job),
            after=ahead[-1] if ahead else None,
            dry_run=request.dry_run,
        )
        office.send(connection, accepted)
        self._serve(key)

    def order_ended(self, order: Order) -> None:
        """Tell whoever wanted an order what became of it, and begin with the next."""
        why = None if order.stage is Stage.DONE else order.why or ""
        self._tell(order.id, order.key, why=why, order=order)
        self._serve(order.key)

    def _serve(self, key: str) -> None:
        """Begin what has its turn; where it leaves all that an open order gives, and is not there yet, take that order back."""
        line, ledger = self._lines.get(key, deque()), self._office.ledger
        member = ledger.members.get(key)
        while line and not ledger.orders_of(key):
            self._begin(line.popleft(), key, member)
        if not line:
            self._lines.pop(key, None)
        elif member is not None:
            order = ledger.withdrawable(member, self._office.now())
            if order is not None and takes_back(line[0].decision, order.joining):
                self._office.orders.withdraw(key, line[0].cause)

    def _begin(self, wanted: Waiting, key: str, member: Member | None) -> None:
        office = self._office
        try:
            if member is None:
                raise CommandError("the job has ended")
            self._require_possible(wanted.request, member)
            view = office.view()
            decision = now_of(wanted.request, wanted.decision, view.job_of[key], view)
            if wanted.decision is not None and decision is None:
                office.orders.give_up(wanted.id, why=None)
                self._tell(wanted.id, key, why=None)
                return
            self._give(wanted, decision, member, is_accepted=True)
        except CommandError as error:
            office.orders.give_up(wanted.id, why=str(error))
            self._tell(wanted.id, key, why=str(error))

    def _give(self, wanted: Waiting, decision: Decision | None, member: Member, *, is_accepted: bool) -> None:
        orders = self._office.orders
        if decision is not None:
            orders.resize(decision, cause=wanted.cause, order_id=wanted.id, uid=wanted.uid, is_accepted=is_accepted)
        else:
            command = BalanceCommand if isinstance(wanted.request, Balance) else StopCommand
            orders.command(
                member, command, cause=wanted.cause, order_id=wanted.id, uid=wanted.uid, is_accepted=is_accepted
            )

    def _decision(self, request: Wanted, member: Member, line: deque[Waiting]) -> Decision | None:
        if not isinstance(request, Expand | Shrink):
            return None
        if unknown := [node for node in request.nodes if node not in self._office.snapshot.node_of]:
            raise CommandError(f"there is no node {unknown[0]}")
        view = self._office.view()
        job = as_after(view.job_of[member.key], [other.decision for other in line if other.decision is not None])
        if isinstance(request, Shrink):
            return shrinking(request, job)
        decision = expansion(request, job, view)
        require_power(decision, view)
        return decision

    def _require_possible(self, request: Wanted, member: Member) -> None:
        """Refuse what the mode does not let through, and whatever is wanted of a job that is being stopped."""
        mode = self._office.mode
        if not isinstance(request, Stop) and mode not in CARRIED_OUT_IN:
            raise CommandError(f"the agent is in mode {mode} and orders nothing (flexmpi mode on changes that)")
        if mode == "drain" and isinstance(request, Expand):
            raise CommandError("the agent is in mode drain and gives out nothing (flexmpi mode on changes that)")
        for order in self._office.ledger.orders_of(member.key):
            if isinstance(order.command, StopCommand):
                raise CommandError(f"the job is being stopped already ({order.what})")

    def _tell(self, order_id: str, key: str, *, why: str | None, order: Order | None = None) -> None:
        connection = self._asked.pop(order_id, None)
        if connection is None:
            return
        member = self._office.ledger.members.get(key)
        ranks = {} if member is None else member.ranks
        nodes = tuple(NodeRanks(node=node, ranks=count) for node, count in ranks.items())
        cost = None if order is None else order.cost
        self._office.send(
            connection,
            Done(id=order_id, cost=cost, nodes=nodes)
            if why is None
            else Failed(id=order_id, why=why, cost=cost, nodes=nodes),
        )
