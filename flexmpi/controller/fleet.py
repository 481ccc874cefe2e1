"""The applications of one controller: gives each its number, nodes, ports and files, starts them, ends them.

When one starts and what is sent to it is controller.py's.
"""

from __future__ import annotations

import asyncio
import sys
import time
from asyncio import DatagramTransport
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from flexmpi.controller import allocation
from flexmpi.controller.applications import Application, Launch
from flexmpi.controller.batch import Progress
from flexmpi.controller.folder import RunFolder, flexmpi_run
from flexmpi.controller.ports import Ports
from flexmpi.controller.reports import Report, receive_reports
from flexmpi.controller.workload import Platform, Submission
from flexmpi.errors import CommandError
from flexmpi.protocol.address import Address

Receive = Callable[[int, Report, Address], None]


@dataclass
class Fleet:
    """All applications that have been started.

    Parameters
    ----------
    platform, corefile
        The nodes, and the file that describes them to applications.
    show
        Prints a line.
    notify
        Called when something about an application has changed.
    receive
        Gets an application's number, what came to its report port, and from where.
    """

    platform: Platform
    corefile: Path
    folder: RunFolder
    ports: Ports
    show: Callable[[str], None]
    notify: Callable[[], None]
    receive: Receive
    applications: dict[int, Application] = field(default_factory=dict)
    _started_at: dict[int, float] = field(default_factory=dict)
    _transports: list[DatagramTransport] = field(default_factory=list)

    def occupied(self) -> dict[str, int]:
        """Return the ranks of all applications on each node."""
        return allocation.total([application.ranks for application in self.applications.values()])

    def progress(self) -> dict[int, Progress]:
        """Return how far each application is."""
        return {
            number: Progress(self._started_at[number], application.initialised, application.ended)
            for number, application in self.applications.items()
        }

    @property
    def running(self) -> list[int]:
        """The numbers of those that have not ended."""
        return [number for number, application in self.applications.items() if not application.ended]

    def find(self, number: int) -> Application:
        """Return a running application.

        Raises
        ------
        CommandError
            There is none of this number, or it has ended.
        """
        if number not in self.applications:
            known = ", ".join(map(str, self.running)) or "none"
            raise CommandError(f"no application {number}, those that run are: {known}")
        if self.applications[number].ended:
            raise CommandError(f"application {number} has ended")
        return self.applications[number]

    async def start(self, number: int, submission: Submission) -> None:
        """Start an application.

        Raises
        ------
        FlexMPIError
            It has no room on the nodes, no ports are left, or its files or its process cannot be made.
        """
        nodes = self.platform.nodes
        placement = submission.placement or allocation.allocate(nodes, submission.ranks, occupied=self.occupied())
        listen, end = self.ports.take()
        report = Address(*end.getsockname())
        self._transports.append(await receive_reports(end, partial(self.receive, number)))
        self.show(f"@@@ App [{number}], root node: {next(iter(placement))}")
        self.show(f"Creating the rankfile {number + 1} ...")
        self.folder.write_rankfile(number, nodes=nodes, placement=placement)
        self.show(f"Creating the execution script {number + 1} ...")
        launch = self._launch(number, submission, placement=placement, listen=listen, report=report)
        self.folder.write_script(number, command=launch.command, directory=Path.cwd(), port=report.port)
        self.show(f"Executing the application {number + 1} ...")
        application = Application(launch, notify=self.notify)
        await application.start()
        self.applications[number] = application
        self._started_at[number] = time.monotonic()

    def _launch(
        self, number: int, submission: Submission, *, placement: Mapping[str, int], listen: Address, report: Address
    ) -> Launch:
        start = [*flexmpi_run(Path(sys.executable)), *submission.program.options]
        options = [
            f"--corefile={self.corefile.resolve()}",
            f"--rankfile={self.folder.rankfile(number)}",
            f"--listen={listen}",
            f"--report={report}",
            "--io-controller",
            f"--id={number}",
        ]
        return Launch(
            number,
            (*start, *options, str(submission.program.script), *submission.arguments),
            options_at=len(start),
            listen=listen,
            report_port=report.port,
            placement=placement,
            output=self.folder.output(number),
        )

    def show_ports(self, number: int) -> None:
        """Print an application's ports and nodes, as the manual has it."""
        launch = self.applications[number].launch
        self.show(f"Application {number}, Port1 (listener): {launch.listen.port} Port2 (Sender): {launch.report_port}")
        for node, ranks in launch.placement.items():
            self.show(f"{node} {ranks}")

    def warn_if_overcommitted(self) -> None:
        """Print a warning for each node that has more ranks than cores."""
        for what in allocation.overcommitted(self.platform.nodes, self.occupied()):
            self.show(f"Warning: {what}")

    async def close(self) -> None:
        """End all applications that have not ended, all at the same time, and take in no more reports."""
        ending = [self.applications[number].stop() for number in self.running]
        results = await asyncio.gather(*ending, return_exceptions=True)
        for transport in self._transports:
            transport.close()
        for result in results:
            if isinstance(result, BaseException):
                raise result
