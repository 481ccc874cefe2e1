"""What is ordered, in the right sequence: written down, then lent where that is needed, then given to the ledger to be sent.

What an earlier agent left open is taken over here too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from flexmpi.cluster.hostlists import fold_hosts
from flexmpi.cluster.state import name_of
from flexmpi.errors import CommandError, ManagerError, MessageError
from flexmpi.protocol.messages import Balance, Command, FromAgent, Resize, Stop, decode_from_agent
from flexmpi.protocol.replies import Outcome
from flexmpi.scheduler.deciding.elastic import Decision
from flexmpi.scheduler.deciding.second_looks import Disappointment
from flexmpi.scheduler.jobs.ledger import Ledger, Member
from flexmpi.scheduler.jobs.orders import AnyCommand, Order, Stage
from flexmpi.scheduler.managers import Lender, ResourceManager
from flexmpi.scheduler.ordering.journal import Entry, Journal, fresh_id

log = logging.getLogger("flexmpi.agent")


class OrderBook:
    """Gives orders and keeps the journal of them.

    Parameters
    ----------
    ledger
        Which sends what is given.
    journal
        Which remembers it.
    manager
        Which lends nodes to jobs that cannot ask for them themselves.
    clock
        Seconds of the epoch.
    """

    def __init__(
        self, ledger: Ledger, *, journal: Journal, manager: ResourceManager, clock: Callable[[], float]
    ) -> None:
        self._ledger = ledger
        self._journal = journal
        self._manager = manager
        self._now = clock
        self._observed: dict[str, str] = {}

    def inherit(self) -> None:
        """Take over what an earlier agent left open: its nodes stay promised until the job says what became of it."""
        for entry in self._journal.open_entries():
            command = _command_of(entry)
            if entry.job_key is None or not isinstance(command, Resize | Balance | Stop):
                self._journal.close_entry(
                    entry.id, "failed", why="the agent was restarted before its turn came", at=self._now()
                )
                continue
            self._ledger.order(
                Order(
                    key=entry.job_key,
                    job_id=entry.job_id,
                    command=command,
                    what=entry.what,
                    decided_at=entry.decided_at,
                    by_hand=entry.uid is not None,
                    uid=entry.uid,
                    inherited=True,
                )
            )

    def accept(self, member: Member, *, what: str, cause: str, order_id: str, uid: int) -> None:
        """Write down what somebody wants and what waits for its turn; an agent that is restarted gives it up."""
        self._journal.record(
            Entry(
                id=order_id,
                decided_at=self._now(),
                job_key=member.key,
                job_id=member.job.job_id,
                job_name=name_of(member.job),
                what=what,
                cause=cause,
                epoch=self._ledger.epoch,
                uid=uid,
            )
        )
        log.info("%s waits for its turn (%s) [%s]", what, cause, order_id)

    def give_up(self, order_id: str, *, why: str | None) -> None:
        """Write down that what waited for its turn is not ordered: why it cannot be; None where there is nothing left to do."""
        self._journal.close_entry(order_id, "done" if why is None else "failed", why=why, at=self._now())
        log.info("%s [%s]", why or "there is nothing left to do", order_id)

    def resize(
        self, decision: Decision, *, cause: str, order_id: str, uid: int | None = None, is_accepted: bool = False
    ) -> Order:
        """Order a job to change its nodes: recorded first, then lent where that is needed, then sent.

        Parameters
        ----------
        is_accepted
            Whether it has waited for its turn, see `accept`.

        Raises
        ------
        CommandError
            The nodes are not free any more.
        """
        member = self._ledger.members[decision.key]
        command = Resize(id=order_id, epoch=self._epoch(), cause=cause, add=decision.add, leave=decision.leave)
        order = self._record(member, command, what=decision.summary(), uid=uid, is_accepted=is_accepted)
        if decision.add and isinstance(self._manager, Lender):
            try:
                self._manager.lend(member.job.job_id, decision.add)
            except ManagerError as error:
                self._journal.close_entry(order.id, "failed", why=str(error), at=self._now())
                raise CommandError(str(error)) from None
        self._give(order)
        return order

    def command(
        self,
        member: Member,
        command: type[Command],
        *,
        cause: str,
        order_id: str,
        uid: int | None = None,
        is_accepted: bool = False,
    ) -> Order:
        """Order a job to balance or stop."""
        made = command(id=order_id, epoch=self._epoch(), cause=cause)
        what = str(getattr(made, "kind"))  # noqa: B009
        order = self._record(member, made, what=what, uid=uid, is_accepted=is_accepted)  # type: ignore[arg-type]
        self._give(order)
        return order

    def withdraw(self, key: str, why: str) -> None:
        """Take back what gives nodes to a job; the journal has it when the job says what came of it."""
        order = self._ledger.withdrawable(self._ledger.members[key], self._now())
        if order is not None:
            log.info("taking back: %s (%s) [%s]", order.what, why, order.id)
            self._ledger.withdraw(order, f"taken back: {why}", self._now())

    def close(self, order: Order) -> None:
        """Write down what became of an order; nodes that were lent for it and that the job does not hold are free at once."""
        outcome: Outcome = "done" if order.stage is Stage.DONE else "failed"
        at = order.ended_at if order.ended_at is not None else self._now()
        self._journal.close_entry(order.id, outcome, why=order.why, cost=order.cost, at=at)
        log.info("%s: %s%s [%s]", order.what, outcome, f": {order.why}" if order.why else "", order.id)
        member = self._ledger.members.get(order.key)
        if member is not None and isinstance(self._manager, Lender):
            not_held = [node for node in (*order.joining, *order.leaving) if node not in member.ranks]
            if not_held:
                self._manager.take_back(member.job.job_id, not_held)

    def observe(self, decisions: Sequence[Decision], cause: str) -> None:
        """Record what would be done, once for as long as it stays the same."""
        seen = {decision.key: decision.summary() for decision in decisions}
        for decision in decisions:
            if self._observed.get(decision.key) != decision.summary():
                member = self._ledger.members[decision.key]
                entry = Entry(
                    id=fresh_id(),
                    decided_at=self._now(),
                    job_key=member.key,
                    job_id=member.job.job_id,
                    job_name=name_of(member.job),
                    what=f"job {name_of(member.job)}: {decision.summary()}",
                    cause=f"{cause}: {decision.why}",
                    outcome="observed",
                    epoch=self._ledger.epoch,
                )
                log.info("would do: %s (%s)", entry.what, entry.cause)
                self._journal.record(entry)
        self._observed = seen

    def record_disappointment(self, failed: Disappointment, *, cause: str) -> None:
        """Record that a waiting job has not started with the nodes that were idle and kept for it."""
        now, name = self._now(), name_of(failed.job)
        nodes = f"{len(failed.nodes)} idle node{'s' if len(failed.nodes) > 1 else ''} ({fold_hosts(failed.nodes)})"
        pause = f"{failed.pause_s / 60:g} min" if failed.pause_s < 7200 else f"{failed.pause_s / 3600:.3g} h"
        entry = Entry(
            id=fresh_id(),
            decided_at=now,
            job_id=failed.job.job_id,
            job_name=name,
            what=f"job {name}: start on {nodes}",
            cause=f"{cause}: kept for it",
            outcome="failed",
            why=f"it still waits after {failed.after_s:.0f} s, reason {failed.job.reason or 'unknown'}; "
            f"nothing is kept or given back for it for {pause}",
            ended_at=now,
            epoch=self._ledger.epoch,
        )
        log.info("%s: %s", entry.what, entry.why)
        self._journal.record(entry)

    def forget_observed(self) -> None:
        """Record anew what would be done, for something has changed."""
        self._observed = {}

    def free_what_was_left(self) -> None:
        """Where jobs cannot ask for nodes themselves: free those they have left."""
        if not isinstance(self._manager, Lender):
            return
        for member in self._ledger.members.values():
            promised = {node for order in self._ledger.orders_of(member.key) for node in order.joining}
            if left := [node for node in (*member.arriving, *member.departing) if node not in promised]:
                self._manager.take_back(member.job.job_id, left)

    def _epoch(self) -> int:
        self._journal.raise_epoch(self._ledger.newest_epoch)
        return self._journal.next_epoch()

    def _record(self, member: Member, command: AnyCommand, *, what: str, uid: int | None, is_accepted: bool) -> Order:
        """Write an order down; what is not on disk is not done."""
        now, job_id = self._now(), member.job.job_id
        order = Order(
            key=member.key,
            job_id=job_id,
            command=command,
            what=f"job {name_of(member.job)}: {what}",
            decided_at=now,
            by_hand=uid is not None,
            uid=uid,
        )
        entry = Entry(
            id=order.id,
            decided_at=now,
            job_key=member.key,
            job_id=job_id,
            job_name=name_of(member.job),
            what=order.what,
            cause=command.cause,
            epoch=command.epoch,
            command=command.model_dump_json(),
            uid=uid,
        )
        (self._journal.begin if is_accepted else self._journal.record)(entry)
        return order

    def _give(self, order: Order) -> None:
        log.info("%s (%s) [%s]", order.what, order.command.cause, order.id)
        self._ledger.order(order)
        self._ledger.deliver(self._now())


def _command_of(entry: Entry) -> FromAgent | None:
    """Return the command of a journal's entry; None where it has none that this version understands."""
    try:
        return None if entry.command is None else decode_from_agent(entry.command.encode())
    except MessageError:
        return None
