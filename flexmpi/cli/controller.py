"""`flexmpi controller`: start the applications of a workload, watch them and pass commands on to them."""

from __future__ import annotations

import io
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from flexmpi import event_loop
from flexmpi.cli.demo_job import shipped
from flexmpi.configuration import read_corefile
from flexmpi.controller.batch import read_batch
from flexmpi.controller.controller import Controller, ControllerOptions
from flexmpi.controller.folder import RunFolder
from flexmpi.controller.iotoken import LIMIT_S
from flexmpi.controller.ports import LARGEST_PORT
from flexmpi.controller.programs import read_programs
from flexmpi.controller.workload import Platform, read_workload

FILE = click.Path(path_type=Path)
APPLICATIONS = "configuration_files/workloads/applications.toml"
WORKLOAD = "configuration_files/workloads/demo.workload"
COREFILE = "configuration_files/corefiles/demo1.core"


@click.command()
@click.option(
    "--workload", type=FILE, help="Applications to start: NAME:NODE:RANKS… a line.  [default: two Jacobi solvers]"
)
@click.option("--batch", type=FILE, help="Applications to start at a time or after another: <T|B|M|I> INT APP a line.")
@click.option("--applications", type=FILE, help="What the names mean, in TOML.  [default: jio, jacobi and cg]")
@click.option(
    "--corefile", type=FILE, help="The nodes: HOST:CORES:ALIAS:COST:SPEED a line.  [default: compute-1, 12 cores]"
)
@click.option(
    "--folder", type=FILE, default="controller-run", show_default=True, help="For logs, rankfiles and scripts."
)
@click.option(
    "--first-port",
    type=click.IntRange(1, LARGEST_PORT - 1),
    default=6666,
    show_default=True,
    help="UDP ports go up from here.",
)
@click.option("--scheduling-io", is_flag=True, help="Let one application at a time do I/O.")
@click.option(
    "--io-limit", type=click.FloatRange(min=0, min_open=True), default=LIMIT_S, show_default=True,
    help="Seconds after which its turn passes to one that waits.",
)  # fmt: skip
def controller(folder: Path, **options: Any) -> None:
    """Start applications, show what they report and send them the commands you type.

    A command is an application's number and one of the numbered commands, for example: 0 6:lhost:2. Type help for all,
    quit to end the applications. Commands may also come by a pipe; after its end the applications are waited for.
    """
    wanted = controller_options(**options)
    with RunFolder(folder) as files:
        status = event_loop.run(converse(Controller(wanted, files), files))
    sys.exit(status)


def controller_options(
    *,
    workload: Path | None,
    batch: Path | None,
    applications: Path | None,
    corefile: Path | None,
    first_port: int,
    scheduling_io: bool,
    io_limit: float,
) -> ControllerOptions:
    """Read all files the user named, or those that come with FlexMPI.

    Raises
    ------
    ConfigurationError
        One of them is not what it should be.
    """
    corefile = corefile or shipped(COREFILE)
    platform = Platform(read_programs(applications or shipped(APPLICATIONS)), read_corefile(corefile))
    if workload is None and batch is None:
        workload = shipped(WORKLOAD)
    submissions = () if workload is None else read_workload(workload, platform=platform)
    return ControllerOptions(
        platform,
        corefile,
        workload=submissions,
        batch=() if batch is None else read_batch(batch, platform=platform, first=len(submissions)),
        first_port=first_port,
        scheduling_io=scheduling_io,
        io_limit_s=io_limit,
    )


async def converse(controller: Controller, folder: RunFolder) -> int:
    """Run a controller with the commands of whoever is at the other end of standard input."""
    # Loaded here: every other command would wait for it.
    from prompt_toolkit.patch_stdout import patch_stdout

    from flexmpi.controller.terminal import piped_lines, typed_lines

    if isinstance(sys.stdout, io.TextIOWrapper):
        # Reports may hold any character; a terminal that lacks one must not end the controller.
        sys.stdout.reconfigure(errors="replace")
    at_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if at_terminal:
        lines = typed_lines(history=folder.history, candidates=controller.completions)
    else:
        lines = piped_lines(sys.stdin.fileno())
    with patch_stdout() if at_terminal else nullcontext():
        return await controller.run(lines, quit_at_end=at_terminal)
