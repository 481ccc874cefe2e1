"""The supervisor, `flexmpi run` itself: one per job, owner of its process sets, its commands and its end.

It is no MPI process. Here is the life of the job; the way to its ranks is ``process_sets``, what they say is understood in
``rank_events``, reconfigurations are carried out in ``reconfigurer``.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from flexmpi.errors import CommandError, MembershipError, MessageError
from flexmpi.protocol.address import Address
from flexmpi.protocol.frames import Message
from flexmpi.runtime.job.application import Application
from flexmpi.runtime.job.diagnosis import in_context
from flexmpi.runtime.job.grant import Grant
from flexmpi.runtime.job.measurements import EnergyReading, IntervalReport
from flexmpi.runtime.job.options import JobOptions
from flexmpi.runtime.job.reconfiguration import Reconfiguration, Stage
from flexmpi.runtime.job.roster import ProcessSet, RankId, Roster
from flexmpi.runtime.machine import processes
from flexmpi.runtime.machine.tasks import Tasks
from flexmpi.runtime.reporting import report
from flexmpi.runtime.reporting.application_output import ApplicationOutput
from flexmpi.runtime.reporting.eventlog import EventLog
from flexmpi.runtime.reporting.monitoring import Monitor
from flexmpi.runtime.reporting.terminal import Terminal
from flexmpi.runtime.supervisor import founders, listener, signals
from flexmpi.runtime.supervisor.admission import Admission
from flexmpi.runtime.supervisor.agent_line import AgentLine
from flexmpi.runtime.supervisor.bindings import Bindings
from flexmpi.runtime.supervisor.commander import Commander
from flexmpi.runtime.supervisor.handovers import Handovers
from flexmpi.runtime.supervisor.io_phases import IOPhases
from flexmpi.runtime.supervisor.meters import Meters
from flexmpi.runtime.supervisor.policy_in_force import PolicyInForce
from flexmpi.runtime.supervisor.process_sets import ProcessSets
from flexmpi.runtime.supervisor.rank_events import RankEvents
from flexmpi.runtime.supervisor.reconfigurer import Reconfigurer
from flexmpi.runtime.supervisor.reports import Reports

RELEASE_LIMIT_S = 10.0
NEWCOMERS_LIMIT_S = 1.0
LAST_WORDS_LIMIT_S = 1.0
TERMINATED = 128 + signal.SIGTERM


class Supervisor:
    """Runs one elastic job from its first rank to its last.

    Parameters
    ----------
    options
        What to run, and where.
    log
        Where its events go.
    line_to_agent
        Makes the line to the agent that a folder tells of; the address is where the job takes text commands, if anywhere.
    """

    def __init__(
        self,
        options: JobOptions,
        log: EventLog,
        *,
        line_to_agent: Callable[[Supervisor, Path, Address | None], AgentLine],
    ) -> None:
        self.options = options
        self._line_to_agent = line_to_agent
        self.limits = options.limits
        self.floor = options.floor
        self.grant = Grant(options.own_nodes)
        self.log = log
        self.roster = Roster(options.nodes)
        self.application = Application()
        self.reconfigurer = Reconfigurer(self, Handovers(self) if options.change == "handover" else None)
        self.latest: IntervalReport | None = None
        self.nodes_on_demand = options.allocation is not None
        self.founders: list[list[RankId]] = []
        self.status = 0
        self.has_failed = False
        self._why = self._traceback = ""
        self._hurried = False
        self._terminating = False
        self._tasks = Tasks(self._failed_itself)
        self.process_sets = ProcessSets(
            options,
            self.roster,
            self._tasks,
            on_message=self._on_message,
            on_ended=self._on_ended,
            on_lost=self._on_lost,
            warn=self.warn,
        )
        # What the parts of the job need of these two.
        self.until, self.notify, self.later = self._tasks.until, self._tasks.notify, self._tasks.later
        self.spawn = self._tasks.spawn
        self.tell, self.stopped = self.process_sets.tell, self.process_sets.stopped
        self.give_up_nodes, self.learn_nodes = self.process_sets.give_up, self.process_sets.learn
        self.kill_process_set, self.remark_on = self.process_sets.kill, self.process_sets.remark_on
        self.ready_node, self.let_node_go = self.process_sets.ready, self.process_sets.let_go
        self.monitor = Monitor(options.report, in_seconds=options.report_in_seconds, counters=options.counters)
        self.reports = Reports(self.roster, self.monitor, show=self.show)
        self.meters = Meters(self, events=options.counters, on_energy=self._energy_read)
        self.io_phases = IOPhases(
            options.io_controlled, admit=lambda ranks: self.tell(ranks, "io_go"), report=self.monitor.send
        )
        self.bindings = Bindings(self.roster, self.process_sets, self._tasks)
        self.policy = PolicyInForce(
            self, schedule=options.schedule, policy=options.policy, watts=options.watts, dry_run=options.policy_dry_run
        )
        self._events = RankEvents(self)
        self._address: Address | None = None
        self._agent: AgentLine | None = None

    async def run(self) -> int:
        """Run the job.

        Returns
        -------
        int
            The exit status: the application's, 143 if it was terminated by a command, 128 + the signal that ended the job.
        """
        signals.catch(end=self._on_signal, suspend=self._suspend)
        folder = processes.private_folder()
        self._terminal = Terminal(partial(self.fail, "", status=128 + signal.SIGPIPE))
        self._output = ApplicationOutput(self._terminal, verbose=self.options.verbose)
        transport = None
        try:
            await self.process_sets.open(folder)
            if self.options.listen is not None:
                transport = await self._listen(self.options.listen)
            self.show(*report.host_lines(self.options.nodes), f"Policy is {self.policy.current.name}")
            self._tasks.spawn(self._start_founders())
            self._tasks.spawn(self.reconfigurer.run())
            await self.until(lambda: self.has_failed or (bool(self.roster.members) and not self.roster.psets))
            await self._hear_of_newcomers()
        finally:
            if transport is not None:
                listener.refuse(transport, "the application has ended")
            self.monitor.close()
            self.reconfigurer.abandon_all("the application ended first")
            self._tasks.cancel()
            await self.process_sets.close()
            shutil.rmtree(folder, ignore_errors=True)
            if self._agent is not None:
                await self._agent.close(status=self.status, why=self._why)
            await self._say_the_last()
            if transport is not None:
                await listener.close(transport)
        self.log.write("ended", status=self.status)
        return self.status

    # What the reconfigurer, the commands, the agent's orders and the ranks' messages need besides.

    def held(self) -> list[str]:
        """Return the nodes that are the job's, its floor first: given to it, with a launcher, or not free again yet."""
        return list(dict.fromkeys([self.floor, *self.grant.nodes, *self.process_sets.held()]))

    async def start_process_set(self, node: str | None, size: int) -> list[RankId]:
        """Start newcomers on a node, or for None on a new node that the provider chooses.

        Raises
        ------
        MembershipError
            The node was refused or not granted in time.
        """
        return await self.process_sets.start(node, size, {"FLEXMPI_JOINING": "1", **self.meters.environment()})

    async def start_successor(self, places: Sequence[str]) -> list[RankId]:
        """Start ranks on nodes that are ready, in this order, as one world.

        Raises
        ------
        MembershipError
            A node is not there any more.
        """
        environment = {"FLEXMPI_CHANGE": "handover", "FLEXMPI_JOINING": "1", **self.meters.environment()}
        ranks = await self.process_sets.start_world(places, environment)
        self._output.hold(ranks)
        return ranks

    def fail(self, why: str, *, status: int = 1, traceback: str | None = None) -> None:
        """End the job with an error; the first one counts and is the only one printed, behind what the ranks print."""
        if not self.has_failed:
            self.has_failed, self.status = True, status
            self._why, self._traceback = why, traceback or ""
            self.notify()

    def finish(self) -> None:
        """The application has ended its session: whoever waits outside it is released."""
        if not self.application.finished:
            self.application.finished = True
            self.reconfigurer.abandon_all("the application ended first")
            self._tasks.spawn(self._release_waiting())
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
        self.io_phases.open_all()
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
        if reconfiguration.stage is Stage.DONE:
            given, left = reconfiguration.given, reconfiguration.vacated
            self.grant.settle(given=given, left=left, used=self.roster.occupied())
        self.notify()
        if reconfiguration.stage is Stage.DONE:
            self.meters.tell()
        self.policy.reconfigured(reconfiguration)
        if reconfiguration.stage is Stage.FAILED and not self.has_failed:
            self._terminal.say(
                f"flexmpi: reconfiguration {reconfiguration.number} was dropped: {reconfiguration.why}\n"
            )
        elif reconfiguration.stage is Stage.DONE:
            self.reports.reconfigured(reconfiguration)
            if self._terminating:
                self.tell(self.roster.members[:1], "terminate")

    def show(self, *lines: str) -> None:
        """Print lines of FlexMPI's own in the application's output."""
        if lines and not self.options.quiet:
            self._terminal.write("stdout", "".join(f"{line}\n" for line in lines).encode(errors="replace"))

    def _write_output(self, node: str, message: Message) -> None:
        """Pass on what ranks print, and let their launcher send more when it is written."""
        size_bytes = len(message["text"].encode(errors="surrogateescape"))
        self._output.write(message, then=partial(self.process_sets.tell_launcher, node, "taken", bytes=size_bytes))

    def warn(self, what: str) -> None:
        """Print a warning."""
        self._terminal.say(f"flexmpi: warning: {what}\n")

    def refuse_successors(self, why: str, *, traceback: str) -> None:
        """Take no order any more that needs a successor: the program fails in one, and says how once."""
        if self.application.no_successor is None:
            self.application.no_successor = why
            self._terminal.say(traceback)

    def interval_ended(self, latest: IntervalReport) -> None:
        """Take note of what was measured in a sampling interval."""
        if self._agent is not None:
            self._agent.sampled(latest)
        self.reports.interval_ended(latest, each_rank=self.policy.watches)
        # What machines say too late was spent in the interval before.
        self.meters.interval_ended(latest.iteration)
        self.latest = latest
        self.policy.interval_ended(latest)

    def _energy_read(self, readings: Sequence[EnergyReading]) -> None:
        self.reports.energy_read(readings, each_machine=self.policy.watches)
        self.policy.energy_read(readings)

    # The job's own life.

    async def _start_founders(self) -> None:
        try:
            await founders.start(self)
            placement = dict(self.options.placement)
            self.log.write("started", ranks=len(self.roster.members), placement=placement, pid=os.getpid())
            self.notify()
            if self.options.agent is not None:
                self._look_for_agent(self.options.agent)
            await founders.bring_together(self, opened=self._events.opened)
        except MembershipError as error:
            self.fail(str(error))

    def _look_for_agent(self, folder: Path) -> None:
        try:
            self._agent = self._line_to_agent(self, folder, self._address)
        except MessageError as error:
            self.warn(f"this job cannot have an agent: {error}")
        else:
            self._agent.start()

    async def _listen(self, address: Address) -> asyncio.DatagramTransport:
        options = self.options
        admission = Admission(token=options.token, key=options.key, open_to_all=options.listen_open)
        transport, bound = await listener.listen(address, Commander(self, admission).answer)
        admission.listening = bound.port
        if options.listen_open:
            self.warn(f"UDP {bound} takes commands from anybody who reaches it (--listen-open)")
        self.show(f"Listening for commands at UDP {bound}")
        self.log.write("listening", host=bound.host, port=bound.port)
        self._address = bound
        return transport

    def _on_signal(self, number: signal.Signals) -> None:
        self._hurried = True
        self.fail(f"ended by {number.name}", status=128 + number)
        self.notify()

    def _suspend(self) -> None:
        """Stop as Ctrl-Z wants it; the launchers are to wait for this process, however long."""
        self.process_sets.tell_launchers("suspended")
        os.kill(os.getpid(), signal.SIGSTOP)
        self.process_sets.tell_launchers("alive")

    def _failed_itself(self, error: BaseException) -> None:
        self.fail(f"the supervisor itself failed: {type(error).__name__}: {error}")

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
            self._failed_itself(error)
        self.notify()

    def _understand(self, node: str, message: Message) -> None:
        match message["kind"]:
            case "rank":
                self._events.handle(RankId(message["pset"], message["local_rank"]), message["message"])
            case "hello":
                self.meters.arrived(node, message)
            case "probed" | "energy":
                self.meters.heard(node, message)
            case "failed":
                self.fail(f"the node launcher of {node} failed: {message['why']}")
            case "draining":
                self._drain(node)
            case "seen":
                self.process_sets.seen(node, message)
            case "bound":
                self.bindings.bound(message)
            case "output":
                self._write_output(node, message)
            case "pset_started":
                self.log.write("pset_started", pset=message["pset"], node=node, warm=message["warm"])
            case "warm":
                self.log.write("warm_parent", node=node, problem=message["problem"])
            case "hosted" | "unhosted" | "pset_ended" | "noted":
                self.process_sets.heard(node, message)

    def _drain(self, node: str) -> None:
        """A node is being taken back: its ranks leave before anything else happens, if there are others."""
        allocation = self.options.allocation
        if allocation is not None and node == allocation.batch_node:
            # The whole Slurm job ends, and this process has had the same signal.
            return
        here = self.roster.occupied().get(node, 0)
        try:
            if here == 0:
                self.process_sets.let_go(node)
            else:
                self.reconfigurer.request_first([(node, -here)], cause=f"{node} is taken back")
        except CommandError as error:
            self.fail(f"{node} is taken back, and the application cannot go on without it: {error}")

    def _on_ended(self, message: Message) -> None:
        self._events.process_set_ended(message)

    def _on_lost(self, pset: ProcessSet, why: str) -> None:
        self._events.process_set_lost(pset, why)
