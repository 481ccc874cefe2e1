"""The agent: observe, decide, act, record. One for a cluster; the only place where the scheduler's parts meet.

What follows from what is in pure modules: `supply` and `view` say what there is, `policies` decide, the `ledger` keeps who
holds what, the `desk` answers people. Here are the loop, the clock, and the order in which things are recorded and sent;
who speaks to it is heard and known in `reception`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from flexmpi.cluster.hostlists import fold_hosts
from flexmpi.cluster.state import Snapshot, name_of
from flexmpi.cluster.submission import Submission
from flexmpi.errors import (
    CommandError,
    ConfigurationError,
    FlexMPIError,
    ManagerError,
)
from flexmpi.protocol.auth import Authority
from flexmpi.protocol.messages import (
    FromAgent,
)
from flexmpi.protocol.replies import HistoryRow, Reply
from flexmpi.protocol.requests import Mode
from flexmpi.scheduler.agent import remembered
from flexmpi.scheduler.agent.reception import Reception
from flexmpi.scheduler.agent.server import Server
from flexmpi.scheduler.agent.settings import AgentSettings
from flexmpi.scheduler.deciding.deciding import Answered, Question, Verdict, decide, decided_already, still_right
from flexmpi.scheduler.deciding.elastic import View, WaitingJob
from flexmpi.scheduler.deciding.metering import credible
from flexmpi.scheduler.deciding.policies import NEEDS_ALL_JOBS
from flexmpi.scheduler.deciding.second_looks import SecondLooks, doubts_as_text
from flexmpi.scheduler.deciding.supply import Territory, waiting_jobs
from flexmpi.scheduler.deciding.view import Bounds, build_view, free_nodes, still_free
from flexmpi.scheduler.jobs.ledger import Ledger, Member, Timing
from flexmpi.scheduler.managers import Lender, ResourceManager
from flexmpi.scheduler.ordering.journal import Journal, fresh_id
from flexmpi.scheduler.ordering.orderbook import OrderBook
from flexmpi.scheduler.requests.desk import TAKES_NO_JOBS, Desk
from flexmpi.slurm.site import TO_SEE_ALL

log = logging.getLogger("flexmpi.agent")

DAY_S = 24 * 3600.0
PRUNED_AT_ONCE = 1000
"""So many decisions take some milliseconds."""
LONGEST_SILENCE_S = 10.0
"""Between two signs of life while nothing is to be done; the unit's WatchdogSec is much longer."""
SEE_ALL = f"it must see all jobs, and PrivateData hides other users' from the agent's user; {TO_SEE_ALL}"


class Agent:
    """One cluster agent.

    Parameters
    ----------
    settings
        The administrator's.
    manager
        Where nodes and jobs are.
    journal
        What it remembers.
    server
        Where jobs and people connect to.
    authority
        What proves who somebody is.
    clock
        Seconds of the epoch.
    """

    def __init__(
        self,
        settings: AgentSettings,
        *,
        manager: ResourceManager,
        journal: Journal,
        server: Server,
        authority: Authority,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._manager = manager
        self._journal = journal
        self._server = server
        self.now = clock
        self.operators = frozenset(settings.agent.operators)
        self.takes_jobs = isinstance(manager, Lender)
        self.territory = Territory(frozenset(settings.nodes.partitions), settings.nodes.excluded)
        self._bounds = Bounds(settings.limits.accounts, settings.limits.partitions)
        self.mode: Mode = remembered.mode(journal, settings)
        self.policy: str = remembered.policy(journal, settings)
        self._second_looks = SecondLooks(doubts=remembered.doubts(journal))
        self.rules = settings.sizing.rules
        self._metering = settings.power.metering
        self.power = remembered.power(journal, settings)
        self.ledger = Ledger(_timing(settings), epoch=journal.next_epoch())
        self.orders = OrderBook(self.ledger, journal=journal, manager=manager, clock=clock)
        self.orders.inherit()
        self.snapshot = Snapshot(taken_at=0.0, nodes=(), jobs=())
        self._waiting: tuple[WaitingJob, ...] = ()
        self._desk = Desk(self)
        self._usage = journal.usage()
        self._idle_since: dict[str, float] = {}
        self._prune_at = 0.0
        self._answered: Answered | None = None
        self._problem: str | None = None
        self._looked_at: float | None = None
        self._looking = asyncio.Lock()
        self._reception = Reception(self, server=server, authority=authority, desk=self._desk)

    async def run(self, *, ready: Callable[[], None] = lambda: None, alive: Callable[[], None] = lambda: None) -> None:
        """Work until cancelled.

        Parameters
        ----------
        ready
            Called when the cluster has been seen for the first time and messages are answered.
        alive
            Called again and again for as long as ticks come to an end and messages are answered.

        Raises
        ------
        ConfigurationError
            The policy cannot work with what the agent may see.
        ManagerError
            The resource manager does not answer at the start.
        """
        await self.look(since=self.now())
        self._require_sight(self.policy, ConfigurationError)
        serving = asyncio.create_task(self._reception.serve())
        ready()
        try:
            while True:
                await self._tick()
                await self._pause(serving, alive)
        finally:
            serving.cancel()
            self._reception.close()

    async def _pause(self, serving: asyncio.Task[None], alive: Callable[[], None]) -> None:
        """Wait for the next tick, if messages are being answered."""
        left_s = self._settings.agent.tick_s
        while left_s > 0:
            done, _ = await asyncio.wait([serving], timeout=min(left_s, LONGEST_SILENCE_S))
            for task in done:
                task.result()
            alive()
            left_s -= LONGEST_SILENCE_S

    # Observe, decide, act.

    async def _tick(self) -> None:
        try:
            await self.look(since=self.now())
        except ManagerError as error:
            self._say_once(f"the resource manager cannot be read: {error}")
        else:
            self._say_once(None)
            self.orders.free_what_was_left()
            verdict = await self._decide()
            self._look_again(verdict)
            self._act(verdict)
        self.ledger.deliver(self.now())
        self.flush()
        self._prune()

    def _prune(self) -> None:
        """Remove what is too old from the journal, once a day; much of it in several ticks."""
        now, keep_days = self.now(), self._settings.agent.keep_days
        if now >= self._prune_at:
            removed = self._journal.prune(before=now - keep_days * DAY_S, at_most=PRUNED_AT_ONCE)
            self._prune_at = now if removed == PRUNED_AT_ONCE else now + DAY_S

    def _say_once(self, problem: str | None) -> None:
        if problem is not None and problem != self._problem:
            log.warning("%s", problem)
        self._problem = problem

    async def look(self, *, since: float) -> None:
        """Have a snapshot that is not older than this; raises ManagerError where the manager does not answer."""
        async with self._looking:
            if self._looked_at is not None and self._looked_at > since:
                return
            before, began = self._looked_at, self.now()
            self.snapshot, self._waiting = await asyncio.to_thread(self._read)
            now = self.now()
            self._looked_at = began
            elapsed_s = 0.0 if before is None else max(0.0, began - before)
            self.ledger.reconcile(self.snapshot, now, elapsed_s=elapsed_s)
            self._meter()
            self._journal.add_usage(
                {key: elapsed_s * len(member.nodes) for key, member in self.ledger.members.items()}, at=now
            )
            free = free_nodes(self.snapshot, self.ledger, self.territory)
            self._idle_since = still_free(free, self._idle_since, now)
            self.flush()

    def _read(self) -> tuple[Snapshot, tuple[WaitingJob, ...]]:
        """Read the cluster, and reckon once for all who look at it what its waiting jobs need."""
        snapshot = self._manager.snapshot()
        return snapshot, waiting_jobs(snapshot)

    def _meter(self) -> None:
        """Take in what jobs have measured of their nodes' energy, where the settings say so."""
        if not self._settings.power.measured:
            return
        before = self._metering
        self._metering = before.after(credible(self.ledger.members.values(), self.snapshot))
        if self._metering.measured != before.measured:
            self.power = replace(self.power, watts=self._metering.watts)
            for nodes, watts in self._metering.measured.items() - before.measured.items():
                log.info("%s: %.4g W idle, %.4g W more with a job (measured)", nodes, watts.idle_w, watts.dynamic_w)

    def view(self) -> View:
        """Return what a policy decides by now."""
        return build_view(
            self.snapshot,
            self.ledger,
            waiting=self._waiting,
            territory=self.territory,
            bounds=self._bounds,
            idle_since=self._idle_since,
            settle_s=self._settings.hysteresis.settle_s,
            now=self.now(),
            doubted=self._second_looks.doubted(self.now()),
            power=self.power,
            rules=self.rules,
        )

    async def _decide(self) -> Verdict:
        """Decide in a thread: jobs and people are answered meanwhile, and what has become wrong by that is left out."""
        asked, began = self._question(), self.now()
        if (verdict := decided_already(self._answered, asked)) is None:
            verdict = await asyncio.to_thread(decide, asked)
            self._answered = Answered(question=asked, verdict=verdict, took_s=self.now() - began)
        return still_right(verdict, asked=asked, now=self._question())

    def _question(self) -> Question:
        return Question(
            view=self.view(),
            mode=self.mode,
            policy=self.policy,
            bounds=self._bounds,
            sees_all="jobs" not in self.snapshot.hidden,
        )

    def _look_again(self, verdict: Verdict) -> None:
        """Leave out the jobs that have not started with what was idle and kept for them, from the next decision on."""
        self._second_looks, failed = self._second_looks.after(
            verdict.could_start, self.snapshot, now=self.now(), patience_s=self._settings.hysteresis.second_look_s
        )
        if failed:
            self._journal.set_setting(remembered.DOUBTS, doubts_as_text(self._second_looks.doubts))
        for each in failed:
            self.orders.record_disappointment(each, cause=f"policy {self.policy}")

    def _act(self, verdict: Verdict) -> None:
        if verdict.is_blind:
            self._say_once(f"policy {self.policy} decides nothing: {SEE_ALL}")
        cause = "mode off" if self.mode == "off" else f"policy {self.policy}"
        if self.mode == "observe":
            self.orders.observe(verdict.decisions, cause)
            return
        for key, why in verdict.taken_back.items():
            self.orders.withdraw(key, why)
        for decision in verdict.decisions:
            try:
                self.orders.resize(decision, cause=f"{cause}: {decision.why}", order_id=fresh_id())
            except CommandError as error:
                log.warning("%s: %s", decision.summary(), error)

    def flush(self) -> None:
        """Record what is over, and send what is to be sent: an order that is over lets the next have its turn."""
        for order in self.ledger.take_ended():
            self.orders.close(order)
            self._desk.order_ended(order)
        for connection, message in self.ledger.take_outgoing():
            self.send(connection, message)

    def admitted(self, member: Member) -> None:
        """Count what a job has used that was not known before."""
        job, now = member.job, self.now()
        unseen = max(0.0, now - (job.started_at if job.started_at is not None else now)) * len(member.held)
        member.node_seconds = self._usage.get(member.key, unseen)
        if member.key not in self._usage:
            self._journal.add_usage({member.key: unseen}, at=now)
        log.info("job %s registered: %s on %s", name_of(job), member.said.name, fold_hosts(member.held))

    def send(self, connection: bytes, message: Reply | FromAgent) -> None:
        """Send a message to a connection."""
        self._server.send(connection, message)

    def answer_later(self, make: Callable[[], Reply], connection: bytes) -> None:
        """Send an answer that takes a while to make: that is done in a thread."""

        async def answer() -> None:
            self.send(connection, await asyncio.to_thread(make))

        self._reception.spawn(answer())

    # What people change.

    def new_id(self) -> str:
        """Return an id for a command."""
        return fresh_id()

    def change_mode(self, mode: Mode) -> None:
        """Put a mode in force, over restarts too."""
        self._journal.set_setting(remembered.MODE, mode)
        self.mode = mode
        self.orders.forget_observed()

    def change_policy(self, name: str, *, dry_run: bool) -> None:
        """Put a policy in force, over restarts too, unless this is a dry run.

        Raises
        ------
        CommandError
            It cannot work with what the agent may see.
        """
        self._require_sight(name, CommandError)
        if dry_run:
            return
        self._journal.set_setting(remembered.POLICY, name)
        self.policy = name
        self.orders.forget_observed()

    def change_power_cap(self, cap_w: float | None) -> None:
        """Put a limit on what all nodes draw together in force, or none, over restarts too."""
        self._journal.set_setting(remembered.POWER_CAP, "none" if cap_w is None else repr(cap_w))
        self.power = replace(self.power, cap_w=cap_w)
        self.orders.forget_observed()

    def _require_sight(self, policy: str, error: type[FlexMPIError]) -> None:
        if policy in NEEDS_ALL_JOBS and "jobs" in self.snapshot.hidden:
            raise error(f"policy {policy} cannot work here: {SEE_ALL}")

    def history(self, job: str | None, entries: int) -> tuple[HistoryRow, ...]:
        """Return what was decided."""
        return self._journal.history(job, entries=entries)

    def submit(self, submission: Submission) -> int:
        """Submit a job to the agent's own manager.

        Raises
        ------
        CommandError
            The agent has none.
        """
        if not isinstance(self._manager, Lender):
            raise CommandError(TAKES_NO_JOBS)
        job_id = self._manager.submit(submission)
        self.snapshot, self._waiting = self._read()  # it is in memory; who looks now expects to see the job
        return job_id


def _timing(settings: AgentSettings) -> Timing:
    orders, hysteresis = settings.orders, settings.hysteresis
    return Timing(
        acknowledge_s=orders.acknowledge_s,
        limit_s=orders.limit_s,
        silent_s=orders.silent_s,
        cool_down_s=hysteresis.cool_down_s,
        retry_s=hysteresis.retry_s,
    )
