"""Who holds which nodes, and which orders are open: what the agent knows of its elastic jobs.

No socket, file or clock: messages and snapshots go in with the time, and what is to be sent or recorded comes out of
`outgoing` and `ended`. Each tick brings in a whole snapshot and each job's own word, so a lost message heals.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from flexmpi.cluster.state import Job, JobState, Snapshot
from flexmpi.models.forecast import Samples
from flexmpi.protocol.messages import (
    Acknowledged,
    Cost,
    Done,
    Ended,
    Energies,
    Failed,
    FromAgent,
    NodeRanks,
    Refused,
    Register,
    Registered,
    Rejected,
    Sample,
    Unknown,
)
from flexmpi.scheduler.jobs.companions import companions, nodes_of
from flexmpi.scheduler.jobs.orders import Order, Stage

LARGEST_BACK_OFF = 16
MISSES = 3
"""A job that the resource manager does not know in so many snapshots in a row is over."""
NEVER_CAME = "the agent was restarted before the job had it"
COSTS_KEPT = 16
"""Of each job's changes, the latest."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How patient the agent is, in seconds; see `flexmpi.scheduler.agent.settings` for what each is."""

    acknowledge_s: float = 2.0
    limit_s: float = 600.0
    silent_s: float = 60.0
    cool_down_s: float = 30.0
    retry_s: float = 60.0


@dataclass
class Member:
    """One elastic job that has registered.

    Attributes
    ----------
    said
        Its own words, when it registered last.
    job
        What the resource manager says of it.
    connection
        From where it registered last.
    ranks
        Of each node it holds, by its own word; its floor first.
    arriving, departing
        Nodes that the manager has for it and it has not told of: on their way in; or out, as it has left them.
    changed_at
        When it last changed.
    wait_until, grow_from
        Until when it is left alone after failures, and when it may grow again: growth that failed keeps nobody from shrinking.
    node_seconds
        What it has used, as far as the agent has seen.
    samples
        What it has measured.
    energy
        What it has told last of energy, until somebody takes it in.
    costs
        What its latest changes have cost.
    decided
        Why its size was last changed, by the agent or a person.
    """

    said: Register
    job: Job
    connection: bytes
    heard_at: float
    registered_at: float
    ranks: dict[str, int]
    arriving: tuple[str, ...] = ()
    departing: tuple[str, ...] = ()
    companions: tuple[Job, ...] = ()
    changed_at: float | None = None
    failures: int = 0
    wait_until: float = 0.0
    grow_from: float = 0.0
    misses: int = 0
    node_seconds: float = 0.0
    latest: Sample | None = None
    samples: Samples = field(default_factory=Samples)
    energy: Energies = ()
    costs: tuple[Cost, ...] = ()
    decided: str | None = None

    @property
    def key(self) -> str:
        """Its key."""
        return self.said.job_key

    @property
    def held(self) -> tuple[str, ...]:
        """Its nodes by its own word, the floor first."""
        return tuple(self.ranks)

    @property
    def nodes(self) -> tuple[str, ...]:
        """All nodes it has, by its own word or the manager's."""
        return tuple(dict.fromkeys((*self.held, *self.arriving, *self.departing)))

    def learn(self, sample: Sample, now: float) -> None:
        """Take in what it has measured."""
        self.latest = sample
        self.energy = sample.energy or self.energy
        self.samples = self.samples.after(
            [one.node for one in sample.nodes if one.ranks > 0],
            iteration=sample.iteration,
            iteration_s=sample.slowest_real_s / sample.iterations,
            now=now,
        )

    def take_energy(self) -> Energies:
        """Hand over what it has told of energy since the last time."""
        taken, self.energy = self.energy, ()
        return taken

    def hear(self, nodes: Collection[NodeRanks], now: float) -> None:
        """Take its word for what it holds."""
        self.heard_at = now
        if nodes:
            ranks = {one.node: one.ranks for one in nodes}
            left = [node for node in self.ranks if node not in ranks]
            self.departing = tuple(node for node in (*self.departing, *left) if node not in ranks)
            self.ranks = ranks


@dataclass
class Ledger:
    """The agent's knowledge of elastic jobs.

    Attributes
    ----------
    timing
        How patient it is.
    epoch
        That with which this agent began: commands of an older one are of an agent that is gone.
    newest_epoch
        The newest that it or a job has seen; its next plan is above it.
    members
        The jobs, by key.
    orders
        The open orders, by id.
    outgoing
        Messages to be sent: the connection and the message.
    ended
        Orders that are over and not yet recorded as such.
    """

    timing: Timing
    epoch: int
    members: dict[str, Member] = field(default_factory=dict)
    orders: dict[str, Order] = field(default_factory=dict)
    outgoing: list[tuple[bytes, FromAgent]] = field(default_factory=list)
    ended: list[Order] = field(default_factory=list)
    newest_epoch: int = 0
    _by_connection: dict[bytes, str] = field(default_factory=dict)

    # What jobs say.

    def register(self, said: Register, job: Job, *, connection: bytes, now: float) -> None:
        """Take in a job whose owner has proved himself; one that was known keeps its orders."""
        if (refusal := self._refusal(said, now)) is not None:
            self.outgoing.append((connection, Rejected(why=refusal)))
            return
        known = self.members.get(said.job_key)
        ranks = {one.node: one.ranks for one in said.nodes}
        if known is None:
            self.members[said.job_key] = Member(said, job, connection, now, now, ranks)
        else:
            self._by_connection.pop(known.connection, None)
            known.said, known.job, known.connection = said, job, connection
            known.hear(said.nodes, now)
        self._by_connection[connection] = said.job_key
        self.newest_epoch = max(self.newest_epoch, said.epoch)
        self.outgoing.append((connection, Registered(epoch=max(self.epoch, said.epoch))))
        for order in self.orders_of(said.job_key):
            if order.id in said.unfinished:
                order.step(Stage.TAKEN)
                order.inherited = False
            else:
                # It answers what it has done already by what came of it, and refuses what it has never seen of an
                # agent that is gone, for the epoch is an old one.
                self._send(order, now)

    def _refusal(self, said: Register, now: float) -> str | None:
        for other in self.members.values():
            if other.key != said.job_key and other.said.job_id == said.job_id:
                if now - other.heard_at < self.timing.silent_s:
                    return f"job {said.job_id} has registered as {other.key} already"
                self.forget(other.key, "another flexmpi run of the same job has taken its place", now)
                return None
            if other.key == said.job_key and other.said.uid != said.uid:
                return f"the key {said.job_key} is that of another user's job"
        return None

    def of_connection(self, connection: bytes) -> Member | None:
        """Return the job that registered from a connection last."""
        return self.members.get(self._by_connection.get(connection, ""))

    def hear(
        self, message: Sample | Acknowledged | Refused | Done | Failed | Ended, *, connection: bytes, now: float
    ) -> None:
        """Take in what a job says after it has registered."""
        member = self.of_connection(connection)
        if member is None:
            if not isinstance(message, Ended):
                self.outgoing.append((connection, Unknown()))
            return
        member.heard_at = now
        match message:
            case Sample():
                member.hear(message.nodes, now)
                member.learn(message, now)
            case Ended():
                self.forget(member.key, message.why or "the job has ended", now)
            case _:
                self._answered(member, message, now)

    def _answered(self, member: Member, message: Acknowledged | Refused | Done | Failed, now: float) -> None:
        order = self.orders.get(message.id)
        if isinstance(message, Done | Failed):
            member.hear(message.nodes, now)
        if order is None or order.key != member.key:
            return
        match message:
            case Acknowledged():
                order.step(Stage.TAKEN)
            case Refused():
                self.newest_epoch = max(self.newest_epoch, message.epoch)
                never_came = order.inherited and member.said.epoch < order.command.epoch
                why = NEVER_CAME if never_came else message.why
                self._close(order, Stage.FAILED, now, why=why)
            case Done():
                self._close(order, Stage.DONE, now, cost=message.cost)
            case Failed():
                self._close(order, Stage.FAILED, now, why=message.why, cost=message.cost)

    # What the agent orders.

    def order(self, order: Order) -> None:
        """Take in an order that has been recorded; it is sent by `deliver`."""
        self.orders[order.id] = order

    def orders_of(self, key: str) -> list[Order]:
        """Return the open orders of a job."""
        return [order for order in self.orders.values() if order.key == key]

    def withdraw(self, order: Order, why: str, now: float) -> None:
        """Take an order back; it is over when the job says so."""
        order.withdrawn = why
        if order.key in self.members:
            self._send(order, now)

    def deliver(self, now: float) -> None:
        """Send what has not been sent, and again what was not answered; give up what takes too long."""
        for order in list(self.orders.values()):
            member = self.members.get(order.key)
            if now - order.decided_at > self.timing.limit_s:
                self._close(order, Stage.FAILED, now, why=f"it was not carried out within {self.timing.limit_s:g} s")
            elif member is not None and self._is_due(order, now):
                self._send(order, now)

    def _is_due(self, order: Order, now: float) -> bool:
        awaits_answer = order.stage is Stage.DECIDED or order.withdrawn is not None
        return awaits_answer and (order.sent_at is None or now - order.sent_at >= self.timing.acknowledge_s)

    def _send(self, order: Order, now: float) -> None:
        order.sent_at = now
        self.outgoing.append((self.members[order.key].connection, order.message))

    def _close(self, order: Order, stage: Stage, now: float, *, why: str | None = None, cost: object = None) -> None:
        order.step(stage)
        order.ended_at, order.why = now, why
        order.cost = cost  # type: ignore[assignment]
        self.orders.pop(order.id, None)
        self.ended.append(order)
        member = self.members.get(order.key)
        if member is None:
            return
        member.changed_at = now
        is_fault = why is not NEVER_CAME and order.withdrawn is None
        if stage is Stage.FAILED and not order.by_hand and is_fault:
            member.grow_from = now + self.timing.retry_s * min(2**member.failures, LARGEST_BACK_OFF)
            member.failures += 1
            if not order.only_gives:
                member.wait_until = member.grow_from
        elif stage is Stage.DONE:
            member.failures, member.wait_until, member.grow_from = 0, 0.0, 0.0
            member.decided = f"{order.what} ({order.command.cause})"
            if order.cost is not None:
                member.costs = (*member.costs, order.cost)[-COSTS_KEPT:]

    # What the resource manager says.

    def reconcile(self, snapshot: Snapshot, now: float, *, elapsed_s: float) -> None:
        """Bring in a snapshot: who is over, and what companions hold.

        Parameters
        ----------
        elapsed_s
            Since the snapshot before, for what jobs have used.
        """
        groups = companions(snapshot)
        for member in list(self.members.values()):
            job = snapshot.job_of.get(member.job.job_id)
            member.misses = member.misses + 1 if job is None else 0
            if (job is not None and job.is_ended) or member.misses >= MISSES:
                state = "gone" if job is None else job.state.value
                self.forget(member.key, f"the resource manager says that the job is {state}", now)
                continue
            if job is None:
                continue
            member.job, member.companions = job, groups.get(job.job_id, ())
            self._tell_arriving_from_departing(member)
            member.node_seconds += elapsed_s * len(member.nodes)
        for order in list(self.orders.values()):
            if order.key not in self.members and order.job_id is not None:
                job = snapshot.job_of.get(order.job_id)
                if job is None or job.is_ended:
                    self._close(order, Stage.FAILED, now, why="the job has ended")

    @staticmethod
    def _tell_arriving_from_departing(member: Member) -> None:
        """Sort what the manager has for a job and it does not hold: what it has left, or what ends, is on its way out."""
        ending = {node for job in member.companions if job.state is JobState.COMPLETING for node in job.nodes} | set(
            member.departing
        )
        others = [node for node in nodes_of(member.job, member.companions) if node not in member.ranks]
        member.departing = tuple(node for node in others if node in ending)
        member.arriving = tuple(node for node in others if node not in ending)

    def forget(self, key: str, why: str, now: float) -> None:
        """Let go of a job that is over."""
        member = self.members.pop(key)
        self._by_connection.pop(member.connection, None)
        for order in self.orders_of(key):
            self._close(order, Stage.FAILED, now, why=why)

    # What may be given out.

    def promised(self) -> Mapping[str, str]:
        """Return the key of the job that has each node, or to which an open order gives it."""
        taken = {node: order.key for order in self.orders.values() for node in order.joining}
        return taken | {node: member.key for member in self.members.values() for node in member.nodes}

    def may_change(self, member: Member, now: float) -> bool:
        """Whether a job takes an order now: none is open, it is heard from, and it was not refused a moment ago."""
        heard = now - member.heard_at <= self.timing.silent_s
        return heard and not self.orders_of(member.key) and now >= member.wait_until

    def may_grow(self, member: Member, now: float) -> bool:
        """Whether a job may grow now: its cool-down is over too."""
        rested = member.changed_at is None or now - member.changed_at >= self.timing.cool_down_s
        return rested and now >= member.grow_from and self.may_change(member, now)

    def withdrawable(self, member: Member, now: float) -> Order | None:
        """Return the open order of a job that can be taken back: it gives nodes only, and the job is heard from."""
        orders = self.orders_of(member.key)
        if len(orders) != 1 or not orders[0].only_gives or orders[0].withdrawn is not None:
            return None
        return orders[0] if now - member.heard_at <= self.timing.silent_s else None

    def take_outgoing(self) -> Iterator[tuple[bytes, FromAgent]]:
        """Hand over what is to be sent."""
        while self.outgoing:
            yield self.outgoing.pop(0)

    def take_ended(self) -> Iterator[Order]:
        """Hand over the orders that are over."""
        while self.ended:
            yield self.ended.pop(0)
