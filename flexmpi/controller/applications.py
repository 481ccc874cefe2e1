"""One application of the controller: a child process `flexmpi run`, followed by its events and ended when told to."""

from __future__ import annotations

import asyncio
import json
import os
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flexmpi.controller.reports import ask
from flexmpi.errors import CommandError, LinkError
from flexmpi.protocol.address import Address
from flexmpi.runtime.machine import processes, this_process

LISTEN_LIMIT_S = 60.0
EVENTS_LIMIT_S = 5.0
STOP_LIMIT_S = 40.0
"""A job ends its ranks and launchers itself, each within limits of 10 s; only one that fails to is killed."""


@dataclass(frozen=True)
class Launch:
    """How an application is started.

    Attributes
    ----------
    command
        `flexmpi run` with all its options, the script and its arguments.
    options_at
        Where in it another option of `flexmpi run` can stand.
    listen, report_port
        Where it takes commands, and where its reports go.
    output
        The file for all that it prints.
    """

    number: int
    command: Sequence[str]
    options_at: int
    listen: Address
    report_port: int
    placement: Mapping[str, int]
    output: Path


class Application:
    """A running or ended application.

    Parameters
    ----------
    launch
        How it is started.
    notify
        Called when something about it has changed.

    Attributes
    ----------
    ranks
        On each node, as far as its events tell.
    initialised
        Whether its first loop has begun.
    status
        Its exit status, 128 + a signal that ended it; None while it runs.
    """

    def __init__(self, launch: Launch, *, notify: Callable[[], None]) -> None:
        self.launch = launch
        self.ranks = dict(launch.placement)
        self.initialised = False
        self.status: int | None = None
        self._notify = notify
        self._reachable = asyncio.Event()

    @property
    def ended(self) -> bool:
        """Whether it runs no more."""
        return self.status is not None

    async def start(self) -> None:
        """Start the child process.

        Raises
        ------
        LinkError
            It cannot be started.
        """
        reading, writing = os.pipe()
        at = self.launch.options_at
        command = [*self.launch.command[:at], f"--json-log=/dev/fd/{writing}", *self.launch.command[at:]]
        try:
            with self.launch.output.open("wb") as output:
                # A session of its own: Ctrl-C is the controller's to act on.
                self._process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=DEVNULL,
                    stdout=output,
                    stderr=STDOUT,
                    pass_fds=[writing],
                    start_new_session=True,
                    preexec_fn=this_process.die_with_parent,
                )
        except OSError as error:
            os.close(reading)
            raise LinkError(f"cannot start application {self.launch.number}: {error}") from None
        finally:
            os.close(writing)
        self._following = asyncio.create_task(self._follow(reading))
        self._watching = asyncio.create_task(self._watch(self._process))

    async def _follow(self, reading: int) -> None:
        """Take in the events that `flexmpi run` writes."""
        reader = asyncio.StreamReader(limit=1 << 24)
        pipe = os.fdopen(reading, "rb")
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        try:
            while line := await reader.readline():
                self._take_in(json.loads(line))
        finally:
            transport.close()

    def _take_in(self, event: Mapping[str, Any]) -> None:
        match event["event"]:
            case "listening":
                self._reachable.set()
            case "loop":
                self.initialised = True
            case "reconfiguration" if event["outcome"] == "done":
                for node, change in event["changes"].items():
                    self.ranks[node] = self.ranks.get(node, 0) + change
            case _:
                return
        self._notify()

    async def _watch(self, process: Process) -> None:
        status = await process.wait()
        # Its last events may still be on the way.
        with suppress(TimeoutError):
            await asyncio.wait_for(self._following, EVENTS_LIMIT_S)
        # One that is ended before it has begun to look after signals is ended by them.
        self.status = status if status >= 0 else 128 - status
        self.ranks = {}
        self._reachable.set()
        self._notify()

    async def send(self, command: str) -> str:
        """Send a command, as soon as the application listens, and return the reply.

        Raises
        ------
        CommandError
            The application has ended.
        LinkError
            It does not answer.
        """
        try:
            await asyncio.wait_for(self._reachable.wait(), LISTEN_LIMIT_S)
        except TimeoutError:
            raise LinkError(f"application {self.launch.number} does not listen at {self.launch.listen}") from None
        if self.ended:
            raise CommandError(f"application {self.launch.number} has ended")
        return await ask(self.launch.listen, command)

    async def stop(self) -> None:
        """End it, and all it has started, if it has not ended."""
        if not self.ended:
            with suppress(ProcessLookupError):
                self._process.terminate()
            try:
                await asyncio.wait_for(asyncio.shield(self._watching), STOP_LIMIT_S)
            except TimeoutError:
                processes.kill([self._process.pid, *processes.descendants(self._process.pid)])
                await self._watching
