"""The supervisor, `flexmpi run` itself: one per job, owner of its process sets, its commands and its end.

It is no MPI process. Here is the life of the job; what ranks say is understood in ``rank_events``, reconfigurations are
carried out in ``reconfigurer``.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from flexmpi.configuration import Node, ScheduledChange
from flexmpi.errors import CommandError, MembershipError
from flexmpi.protocol.frames import Message
from flexmpi.runtime import listener, processes, report
from flexmpi.runtime.commander import Commander
from flexmpi.runtime.diagnosis import in_context
from flexmpi.runtime.eventlog import EventLog
from flexmpi.runtime.gateway import Gateway, LauncherLine
from flexmpi.runtime.job import Application, Limits
from flexmpi.runtime.launchers import Launchers
from flexmpi.runtime.listener import Address
from flexmpi.runtime.monitoring import Monitor
from flexmpi.runtime.providers import LocalProvider, Provider
from flexmpi.runtime.rank_events import RankEvents
from flexmpi.runtime.reconfiguration import Reconfiguration, Stage
from flexmpi.runtime.reconfigurer import Reconfigurer
from flexmpi.runtime.report import IntervalReport
from flexmpi.runtime.roster import RankId, Roster
from flexmpi.runtime.services import Services
from flexmpi.runtime.slurm import SlurmProvider
from flexmpi.runtime.slurm_facts import Allocation
from flexmpi.runtime.terminal import Terminal

RELEASE_LIMIT_S = 10.0
NEWCOMERS_LIMIT_S = 1.0
LAST_WORDS_LIMIT_S = 1.0
TERMINATED = 128 + signal.SIGTERM


@dataclass(frozen=True)
class JobOptions:
    """All that `flexmpi run` was told, checked.

    Attributes
    ----------
    command
        The script and its arguments.
    placement
        Ranks to start with on each node.
    interval
        The sampling interval as text, None to leave it to the program.
    token
        What text commands must begin with, if anything.
    report, report_in_seconds
        Where the monitoring service reports to, and in which unit.
    io_controlled
        A controller grants I/O phases.
    allocation
        The Slurm job this runs in; None where every node is a virtual node on this machine.
    grant_timeout_s, grant_retries
        How long Slurm may take to grant a node, and how often it is asked again.
    """

    command: tuple[str, ...]
    nodes: tuple[Node, ...]
    placement: Mapping[str, int]
    limits: Limits
    interval: str | None = None
    listen: Address | None = None
    token: str | None = None
    identifier: int = 0
    quiet: bool = False
    schedule: tuple[ScheduledChange, ...] = ()
    report: Address | None = None
    report_in_seconds: bool = False
    io_controlled: bool = False
    allocation: Allocation | None = None
    grant_timeout_s: float = 60.0
    grant_retries: int = 0


class Supervisor:
    """Runs one elastic job from its first rank to its last.

    Parameters
    ----------
    options
        What to run, and where.
    log
        Where its events go.
    """

    def __init__(self, options: JobOptions, log: EventLog) -> None:
        self.options = options
        self.limits = options.limits
        self.log = log
        self.roster = Roster(options.nodes)
        self.application = Application()
        self.reconfigurer = Reconfigurer(self)
        self.latest: IntervalReport | None = None
        self.nodes_on_demand = options.allocation is not None
        self.founders: list[list[RankId]] = []
        self.status = 0
        self._failed = False
        self._why = self._traceback = ""
        self._hurried = False
        self._terminating = False
        self._news = asyncio.Event()
        self.gateway = Gateway(self._on_message, self._on_arrival, self._on_launcher_lost)
        self.services = Services(
            self,
            schedule=options.schedule,
            monitor=Monitor(options.report, in_seconds=options.report_in_seconds),
            io_controlled=options.io_controlled,
        )
        self._events = RankEvents(self)
        self._began = time.monotonic()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """Run the job.

        Returns
        -------
        int
            The exit status: the application's, 143 if it was terminated by a command, 128 + the signal that ended the job.
        """
        started_at = time.time()
        self._catch_signals()
        folder = processes.private_folder()
        self._terminal = Terminal(partial(self.fail, "", status=128 + signal.SIGPIPE))
        self._launchers = Launchers(
            self._provider(folder), self.gateway, self.until, retries=self.options.grant_retries
        )
        transport = None
        try:
            await self._open_gateway()
            if self.options.listen is not None:
                transport = await self._listen(self.options.listen)
            self.show(*report.host_lines(self.options.nodes), f"Policy is {self.services.policy.name}")
            self._spawn(self._start_founders())
            self._spawn(self.reconfigurer.run())
            await self.until(lambda: self._failed or (bool(self.roster.members) and not self.roster.psets))
            await self._hear_of_newcomers()
        finally:
            if transport is not None:
                transport.close()
            self.services.monitor.close()
            self.reconfigurer.abandon_all("the application ended first")
            await self._close()
            shutil.rmtree(folder, ignore_errors=True)
            processes.clear_shared_memory(since=started_at)
            await self._say_the_last()
        self.log.write("ended", status=self.status)
        return self.status

    # What the reconfigurer, the commands and the ranks' messages need.

    def tell(self, ranks: Collection[RankId], kind: str, **fields: object) -> None:
        """Send a message to ranks, through their launchers."""
        for number in sorted({rank.pset for rank in ranks}):
            pset = self.roster.psets.get(number)
            line = None if pset is None else self.gateway.lines.get(pset.node)
            if line is not None:
                local_ranks = [rank.local_rank for rank in ranks if rank.pset == number]
                line.send("rank", pset=number, local_ranks=local_ranks, message={"kind": kind, **fields})

    async def start_process_set(self, node: str | None, size: int) -> list[RankId]:
        """Start newcomers on a node, or for None on a new node that the provider chooses.

        Raises
        ------
        MembershipError
            The node was refused or not granted in time.
        """
        return await self._start(node, size, {"FLEXMPI_JOINING": "1"})

    async def _start(self, node: str | None, size: int, environment: dict[str, str]) -> list[RankId]:
        node = await self._launchers.ensure(node)
        pset = self.roster.add(node, size)
        environment |= {"FLEXMPI_PSET": str(pset.number), "FLEXMPI_SPEED": repr(self.roster.speed_of(node))}
        if self.options.interval is not None:
            environment["FLEXMPI_INTERVAL"] = self.options.interval
        self.gateway.lines[node].send(
            "start",
            pset=pset.number,
            ranks=size,
            command=self.options.command,
            directory=str(Path.cwd()),
            environment=environment,
        )
        return pset.ranks

    async def stopped(self, ranks: Collection[RankId]) -> list[RankId]:
        """Return those of these ranks whose process a signal or a debugger has stopped."""
        pids: dict[str, list[int]] = {}
        for rank in ranks:
            if rank in self.roster.pids:
                pids.setdefault(self.roster.node_of(rank), []).append(self.roster.pids[rank])
        stopped = await self._launchers.stopped(pids)
        return [rank for rank in ranks if self.roster.pids.get(rank) in stopped]

    def kill_process_set(self, number: int) -> None:
        """End a process set at once."""
        pset = self.roster.psets.get(number)
        if pset is not None and pset.node in self.gateway.lines:
            self.gateway.lines[pset.node].send("kill", pset=number)

    async def until(self, condition: Callable[[], bool], *, limit_s: float | None = None) -> bool:
        """Wait until something has happened; False if it has not within the limit."""
        end = None if limit_s is None else time.monotonic() + limit_s
        while not condition():
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                return False
            news = self._news
            try:
                # Not wait_for, which forgets a cancellation that comes together with the news.
                async with asyncio.timeout(left):
                    await news.wait()
            except TimeoutError:
                return condition()
        return True

    def notify(self) -> None:
        """Have all who wait look again."""
        self._news.set()
        self._news = asyncio.Event()

    def fail(self, why: str, *, status: int = 1, traceback: str | None = None) -> None:
        """End the job with an error; the first one counts and is the only one printed, behind what the ranks print."""
        if not self._failed:
            self._failed, self.status = True, status
            self._why, self._traceback = why, traceback or ""
            self.notify()

    def finish(self) -> None:
        """The application has ended its session: whoever waits outside it is released."""
        if not self.application.finished:
            self.application.finished = True
            self.reconfigurer.abandon_all("the application ended first")
            self._spawn(self._release_waiting())
            self.notify()

    async def _release_waiting(self) -> None:
        idle = self.roster.idle()
        self.tell(list(self.roster.waiting), "release")
        if not await self.until(
            lambda: not any(pset.number in self.roster.psets for pset in idle), limit_s=RELEASE_LIMIT_S
        ):
            for pset in idle:
                self.kill_process_set(pset.number)

    def terminate(self) -> None:
        """End the application at its next agreement point, or at once where it has no session."""
        self._terminating = True
        if self.application.loop is None:
            self.fail("terminated by a command before it reached its first iteration", status=TERMINATED)
        self.tell(self.roster.members[:1], "terminate")

    def terminated(self) -> None:
        """The ranks have agreed to end."""
        self.status = TERMINATED
        self.finish()

    def reconfigured(self, reconfiguration: Reconfiguration) -> None:
        """Take note that a reconfiguration is over; a pending termination must reach the rank that is rank 0 now."""
        self.log.write("reconfiguration", **reconfiguration.record())
        if reconfiguration.stage is Stage.FAILED and not self._failed:
            self._terminal.say(
                f"flexmpi: reconfiguration {reconfiguration.number} was dropped: {reconfiguration.why}\n"
            )
        elif reconfiguration.stage is Stage.DONE:
            elapsed_s = time.monotonic() - self._began
            self.show(*report.spawn_lines(reconfiguration, self._joined(reconfiguration), elapsed_s=elapsed_s))
            self.show(*report.balance_lines(reconfiguration))
            self.show(*report.removal_lines(reconfiguration, reconfiguration.left, elapsed_s=elapsed_s))
            if self._terminating:
                self.tell(self.roster.members[:1], "terminate")

    def _joined(self, reconfiguration: Reconfiguration) -> dict[int, str]:
        return {
            number: self.roster.node_of(rank)
            for number, rank in enumerate(self.roster.members)
            if rank in reconfiguration.newcomers
        }

    def show(self, *lines: str) -> None:
        """Print lines of FlexMPI's own in the application's output."""
        if lines and not self.options.quiet:
            self._terminal.write("stdout", "".join(f"{line}\n" for line in lines).encode(errors="replace"))

    def _write_output(self, node: str, message: Message) -> None:
        """Pass on what ranks print, and let their launcher send more when it is written."""
        data = message["text"].encode(errors="surrogateescape")
        line = self.gateway.lines.get(node)
        then = None if line is None else partial(line.send, "taken", bytes=len(data))
        source = RankId(message["pset"], message["local_rank"])
        self._terminal.write(message["stream"], data, source=source, then=then)

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Have something done after a while, if the job lives so long."""
        self._spawn(self._do_later(seconds, call))

    async def _do_later(self, seconds: float, call: Callable[[], None]) -> None:
        await asyncio.sleep(seconds)
        call()
        self.notify()

    def warn(self, what: str) -> None:
        """Print a warning."""
        self._terminal.say(f"flexmpi: warning: {what}\n")

    def interval_ended(self, latest: IntervalReport) -> None:
        """Take note of what was measured in a sampling interval."""
        self.latest = latest
        self.services.interval_ended(latest, self._first_host())

    def _first_host(self) -> str:
        """Return the node of rank 0, whose figures the manual's lines show."""
        return self.roster.node_of(self.roster.members[0])

    def performance(self) -> str:
        """Return the performance values of the latest interval.

        Raises
        ------
        CommandError
            No interval has ended yet.
        """
        if self.latest is None:
            raise CommandError("no sampling interval has ended yet")
        return self.latest.performance(self._first_host())

    # The job's own life.

    async def _start_founders(self) -> None:
        placement = list(self.options.placement.items())
        try:
            for node, size in placement:
                self.founders.append(await self._start(node, size, {"FLEXMPI_FOUNDERS": str(len(placement))}))
        except MembershipError as error:
            self.fail(str(error))
            return
        self.roster.members = [rank for unit in self.founders for rank in unit]
        self.log.write("started", ranks=len(self.roster.members), placement=dict(placement), pid=os.getpid())
        self.notify()
        if len(self.founders) > 1:
            await self._bring_founders_together()

    async def _bring_founders_together(self) -> None:
        """Have the founding process sets join each other, once all their ranks are there to be told a port."""
        application, opened = self.application, self._events.opened
        await self.until(lambda: application.obstacle is not None or opened.issuperset(self.roster.members))
        if application.obstacle is not None:
            self.fail(f"the ranks of several nodes have to join each other: {application.obstacle}")
            return
        for position, unit in enumerate(self.founders):
            self.tell(unit, "assemble", reconfiguration=0, position=position, count=len(self.founders))

    async def _listen(self, address: Address) -> asyncio.DatagramTransport:
        commander = Commander(self, self.options.token)
        transport, bound = await listener.listen(address, commander.answer)
        if not bound.is_loopback and self.options.token is None:
            self.warn(
                f"UDP {bound} takes commands from anybody who reaches it; use --token-file, or listen at 127.0.0.1"
            )
        self.show(f"Listening for commands at UDP {bound}")
        self.log.write("listening", host=bound.host, port=bound.port)
        return transport

    def _provider(self, folder: Path) -> Provider:
        allocation = self.options.allocation
        if allocation is None:
            return LocalProvider(folder, on_ended=self.notify)
        timeout_s = self.options.grant_timeout_s
        return SlurmProvider(allocation, folder, grant_timeout_s=timeout_s, on_ended=self.notify)

    async def _open_gateway(self) -> None:
        allocation = self.options.allocation
        if allocation is None:
            await self.gateway.open()
        else:
            await self.gateway.open("0.0.0.0", names=allocation.addresses)

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # Who started this process (nohup, a shell's background job) may want it to ignore some.
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self._on_signal, number)
        if signal.getsignal(signal.SIGTSTP) is not signal.SIG_IGN:
            loop.add_signal_handler(signal.SIGTSTP, self._suspend)

    def _on_signal(self, number: signal.Signals) -> None:
        self._hurried = True
        self.fail(f"ended by {number.name}", status=128 + number)
        self.notify()

    def _suspend(self) -> None:
        """Stop as Ctrl-Z wants it; the launchers are to wait for this process, however long."""
        for line in self.gateway.lines.values():
            line.send("suspended")
        os.kill(os.getpid(), signal.SIGSTOP)
        for line in self.gateway.lines.values():
            line.send("alive")

    def _spawn(self, coroutine: object) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(coroutine)  # type: ignore[call-overload]
        self._tasks.add(task)
        task.add_done_callback(self._on_task_end)

    def _on_task_end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(f"the supervisor itself failed: {type(error).__name__}: {error}")

    async def _close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await self._launchers.close()

    async def _hear_of_newcomers(self) -> None:
        """Wait a moment for the end of a newcomer that may have taken others with it, which waited for it inside MPI."""
        current = self.reconfigurer.current
        if self._hurried or current is None or current.stage is not Stage.AGREED:
            return
        if current.newcomers:
            await self.until(lambda: bool(current.lost), limit_s=NEWCOMERS_LIMIT_S)
        self._why = in_context(self._why, current)

    async def _say_the_last(self) -> None:
        """Say why the job has failed, and wait for whoever reads the output; nobody waits after a signal."""
        self._terminal.say(self._traceback)
        if self._why:
            self._terminal.say(f"flexmpi: error: {self._why}\n")
            self.log.write("error", why=self._why)
        self._terminal.flush(self.notify)
        await self.until(lambda: self._terminal.flushed or self._hurried)
        await self.until(lambda: self._terminal.flushed, limit_s=LAST_WORDS_LIMIT_S)

    def _on_message(self, node: str, message: Message) -> None:
        try:
            self._understand(node, message)
        except Exception as error:
            self.fail(f"the supervisor itself failed: {type(error).__name__}: {error}")
        self.notify()

    def _understand(self, node: str, message: Message) -> None:
        match message["kind"]:
            case "rank":
                self._events.handle(RankId(message["pset"], message["local_rank"]), message["message"])
            case "draining":
                self._drain(node)
            case "seen":
                self._launchers.seen(node, message)
            case "bound":
                self.services.bound(message)
            case "output":
                self._write_output(node, message)
            case "pset_ended":
                self._events.process_set_ended(message)
                self._stop_launcher_if_idle(node)

    async def _let_go(self, node: str) -> None:
        if (remark := await self._launchers.let_go(node)) is not None:
            self.warn(remark)

    def _drain(self, node: str) -> None:
        """A node is being taken back: its ranks leave before anything else happens, if there are others."""
        allocation = self.options.allocation
        if allocation is not None and node == allocation.batch_node:
            # The whole Slurm job ends, and this process has had the same signal.
            return
        here = self.roster.occupied().get(node, 0)
        try:
            if here == 0:
                self._spawn(self._let_go(node))
            else:
                self.reconfigurer.request_first([(node, -here)], cause=f"{node} is taken back")
        except CommandError as error:
            self.fail(f"{node} is taken back, and the application cannot go on without it: {error}")

    def _stop_launcher_if_idle(self, node: str) -> None:
        if not self._is_used(node):
            self._spawn(self._let_go_if_idle(node))

    def _is_used(self, node: str) -> bool:
        return any(pset.node == node for pset in self.roster.psets.values())

    async def _let_go_if_idle(self, node: str) -> None:
        # Something may have been started there since.
        if not self._is_used(node):
            await self._let_go(node)

    def _on_arrival(self, line: LauncherLine, hello: Message) -> bool:
        awaited = self._launchers.arrived(line, hello)
        self.notify()
        return awaited

    def _on_launcher_lost(self, node: str) -> None:
        self._spawn(self._launchers.lost(node))
        for pset in [pset for pset in self.roster.psets.values() if pset.node == node]:
            self._events.process_set_lost(pset, f"the node launcher of {node} is gone")
        self.notify()
