"""`flexmpi controller`: from the workload to the end of the last application, by what is typed, due, reported or asked for.

All that is done follows from `_act`, which looks at what is due whenever something has happened.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from flexmpi import __version__
from flexmpi.controller import allocation, prompt
from flexmpi.controller.batch import Agenda, Dropped, Resize, Start
from flexmpi.controller.fleet import Fleet
from flexmpi.controller.folder import RunFolder
from flexmpi.controller.granting import Granting
from flexmpi.controller.iotoken import LIMIT_S, IOToken
from flexmpi.controller.ports import Ports
from flexmpi.controller.reports import AskIO, EndIO, Line, Report
from flexmpi.controller.workload import Platform, Submission, parse_submission
from flexmpi.errors import FlexMPIError
from flexmpi.protocol.address import Address
from flexmpi.protocol.commands import ChangeRanks, Command, GrantIO

TERMINATED = 128 + signal.SIGTERM
"""The status of an application that was told to end."""


@dataclass(frozen=True)
class ControllerOptions:
    """All that `flexmpi controller` was told, checked.

    Attributes
    ----------
    workload
        Applications to start at once; their numbers begin at 0.
    batch
        What follows, with numbers after those.
    first_port
        Of the first application.
    scheduling_io
        I/O phases take turns; otherwise all are granted at once.
    io_limit_s
        How long a turn may take while others wait.
    """

    platform: Platform
    corefile: Path
    workload: tuple[Submission, ...] = ()
    batch: tuple[Start | Resize, ...] = ()
    first_port: int = 6666
    scheduling_io: bool = False
    io_limit_s: float = LIMIT_S


class Controller:
    """Runs the applications of one workload and those that are submitted later.

    Parameters
    ----------
    options
        What to run, and how.
    folder
        Where the files of the applications go.
    """

    def __init__(self, options: ControllerOptions, folder: RunFolder) -> None:
        self._options = options
        self._agenda = Agenda(options.batch, began_s=time.monotonic())
        self._next_number = len(options.workload) + len(self._agenda.starting)
        token = IOToken(time.monotonic, limit_s=options.io_limit_s) if options.scheduling_io else None
        self._granting = Granting(token, tell=self._tell_granted, warn=self._show, notify=self._notify)
        self._fleet = Fleet(
            options.platform,
            options.corefile,
            folder,
            Ports(options.first_port),
            show=self._show,
            notify=self._notify,
            receive=self._receive,
        )
        self._news = asyncio.Event()
        self._quitting = False
        self._status = 0
        self._announced: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, lines: AsyncIterator[str], *, quit_at_end: bool) -> int:
        """Start the workload and obey commands; when this returns all applications have ended.

        Parameters
        ----------
        lines
            The commands.
        quit_at_end
            The end of the commands ends the applications; otherwise they are waited for.

        Returns
        -------
        int
            0; 1 if an application failed; 128 + the signal that ended the controller.
        """
        self._catch_signals()
        try:
            await self._begin()
            reading = self._spawn(self._obey_all(lines))
            while not self._quitting and not (reading.done() and (quit_at_end or self._all_over())):
                self._news.clear()
                for task in self._tasks:
                    if task.done():
                        task.result()
                if not await self._act():
                    await self._news_within(self._left_s())
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._fleet.close()
            self._announce_ends()
        return self._status

    # What is shown, and what has happened.

    def _show(self, *lines: str) -> None:
        try:
            for line in lines:
                print(line, flush=True)
        except BrokenPipeError:
            # Whoever closed our output wants no more of it.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            self._quit(128 + signal.SIGPIPE)

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(lambda _: self._notify())
        return task

    def _notify(self) -> None:
        self._news.set()

    async def _news_within(self, limit_s: float | None) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), limit_s)

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._quit, 128 + number)

    def _quit(self, status: int | None = None) -> None:
        self._quitting = True
        if status is not None:
            self._status = status
        self._notify()

    # What is due.

    async def _begin(self) -> None:
        self._show("*****", f"FlexMPI program controller {__version__}", "*****", "", "--- Initializing", "")
        self._show("### Application malleability enabled", "", "Reading the workload ...")
        for number, submission in enumerate(self._options.workload):
            await self._start(number, submission)
        if self._fleet.applications:
            self._show("", "--- Displaying the application workload")
        for number in self._fleet.applications:
            self._fleet.show_ports(number)
        self._fleet.warn_if_overcommitted()
        self._show(prompt.INVITATION, "", "--- Waiting for new input commands", "")

    async def _start(self, number: int, submission: Submission) -> bool:
        """Start an application; one that cannot be is only reported, as the others can do without it."""
        if self._quitting:
            return False
        try:
            await self._fleet.start(number, submission)
        except FlexMPIError as error:
            self._show(f"error: {error}", f"Application {number} was not started")
            self._agenda.drop(number)
            self._status = 1
            return False
        return True

    async def _start_later(self, number: int, submission: Submission) -> None:
        if await self._start(number, submission):
            self._fleet.show_ports(number)
            self._fleet.warn_if_overcommitted()

    async def _act(self) -> bool:
        """Do what is due now; False if that was nothing."""
        self._announce_ends()
        self._granting.pass_on()
        due = self._agenda.due(time.monotonic(), self._fleet.progress())
        for entry in due:
            match entry:
                case Start(number, submission):
                    await self._start_later(number, submission)
                case Resize(number, _, change):
                    self._spawn(self._resize(number, change))
                case Dropped(Start(number), why):
                    self._show(f"Warning: application {number} is not started: {why}")
                case Dropped(Resize(number, _, change), why):
                    self._show(f"Warning: the change of application {number} by {change:+} is dropped: {why}")
        return bool(due)

    def _left_s(self) -> float | None:
        """Return how long until something is due by the clock."""
        times = (self._agenda.left_s(time.monotonic(), self._fleet.progress()), self._granting.left_s())
        return min((time_s for time_s in times if time_s is not None), default=None)

    def _all_over(self) -> bool:
        return self._agenda.empty and not self._fleet.running

    def _announce_ends(self) -> None:
        for number, application in self._fleet.applications.items():
            if not application.ended or number in self._announced:
                continue
            self._announced.add(number)
            self._show(f"Application {number} ended with status {application.status}")
            if application.status not in (0, TERMINATED):
                self._show(f"See {application.launch.output}")
                self._status = self._status or 1
            self._granting.release(number)

    async def _resize(self, number: int, change: int) -> None:
        nodes = self._options.platform.nodes
        try:
            own = self._fleet.find(number).ranks
            changes = allocation.resize(nodes, change, occupied=self._fleet.occupied(), own=own)
            await self._send(number, ChangeRanks(tuple(changes.items())))
        except FlexMPIError as error:
            self._show(f"error: the change of application {number} by {change:+} is dropped: {error}")

    # What is typed.

    async def _obey_all(self, lines: AsyncIterator[str]) -> None:
        async for line in lines:
            try:
                await self._obey(prompt.parse_wish(line))
            except FlexMPIError as error:
                self._show(f"error: {error}")

    async def _obey(self, wish: prompt.Wish | None) -> None:
        match wish:
            case prompt.Quit():
                self._quit()
            case prompt.Help():
                self._show(*prompt.help_lines())
            case prompt.Send(number, command):
                await self._send(number, command)
            case prompt.Submit(text):
                submission = parse_submission(text, platform=self._options.platform)
                number, self._next_number = self._next_number, self._next_number + 1
                await self._start_later(number, submission)
            case prompt.TryAllocation(ranks):
                placement = allocation.allocate(self._options.platform.nodes, ranks, occupied=self._fleet.occupied())
                self._show(f"Allocation of {ranks}: {allocation.listed(placement)}")

    async def _send(self, number: int, command: Command) -> None:
        """Send a command to an application and show its reply."""
        if number in self._agenda.starting:
            raise FlexMPIError(f"application {number} has not started yet")
        application, text = self._fleet.find(number), command.text()
        self._show(f"Message: {text}. Size: {len(text.encode())} bytes sent to app{number + 1}.")
        reply = await application.send(text)
        self._show(f"{number} reply from {application.launch.listen} -> {reply}")

    def completions(self, text: str) -> Iterator[tuple[str, str]]:
        """Yield what the last word of a line may become, and what that means."""
        platform = self._options.platform
        names = dict.fromkeys(name for node in platform.nodes for name in (node.alias, node.name))
        return prompt.completions(text, numbers=self._fleet.running, names=names, programs=platform.programs)

    # What is reported.

    def _receive(self, number: int, report: Report, sender: Address) -> None:
        match report:
            case Line(text):
                self._show(f"{number} data from {sender} -> {text}")
            case AskIO() if number in self._fleet.applications:
                self._granting.ask(number)
            case EndIO():
                self._granting.release(number)

    async def _tell_granted(self, number: int) -> None:
        application = self._fleet.applications[number]
        try:
            await application.send(GrantIO().text())
        except FlexMPIError:
            # One that is ending needs no grant any more.
            if not (self._quitting or application.ended):
                raise
