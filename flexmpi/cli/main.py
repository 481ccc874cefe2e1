"""The `flexmpi` command: its subcommands, and how an error reaches the user."""

from __future__ import annotations

import sys

import click

from flexmpi import __version__
from flexmpi.cli.agent import agent
from flexmpi.cli.controller import controller
from flexmpi.cli.demo import demo
from flexmpi.cli.doctor import doctor
from flexmpi.cli.run import run
from flexmpi.cli.send import send
from flexmpi.errors import FlexMPIError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="flexmpi")
def cli() -> None:
    """Elastic MPI jobs: an iterative mpi4py program gains and loses ranks while it runs."""


cli.add_command(agent)
cli.add_command(controller)
cli.add_command(demo)
cli.add_command(doctor)
cli.add_command(run)
cli.add_command(send)


def main() -> None:
    """Run the command line; an error of this package is one line on stderr and the exit status 2."""
    try:
        cli()
    except FlexMPIError as error:
        click.echo(f"flexmpi: error: {error}", err=True)
        sys.exit(2)
