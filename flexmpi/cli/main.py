"""The `flexmpi` command: its subcommands, and how an error reaches the user."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from flexmpi import __version__
from flexmpi.errors import FlexMPIError

MODULES = {
    **{name: name for name in ("agent", "controller", "demo", "doctor", "explain", "run", "send", "submit")},
    **dict.fromkeys(("history", "jobs", "nodes"), "lists"),
    **dict.fromkeys(("balance", "expand", "shrink", "stop"), "resize"),
    **dict.fromkeys(("mode", "policy", "powercap"), "settings"),
}
"""Commands and the modules they are in. One is loaded when it is asked for: a job need not wait for what others are made of."""


class Commands(click.Group):
    """All commands, each loaded when it is asked for."""

    def list_commands(self, context: click.Context) -> list[str]:
        """Return the names of all."""
        return sorted(MODULES)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Return a command; None where there is none of this name."""
        if name not in MODULES:
            return None
        command: click.Command = getattr(import_module(f"flexmpi.cli.{MODULES[name]}"), name)
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="flexmpi")
def cli() -> None:
    """Elastic MPI jobs: an iterative mpi4py program gains and loses ranks while it runs."""


def main() -> None:
    """Run the command line; an error of this package is one line on stderr and the exit status 2."""
    try:
        cli()
    except FlexMPIError as error:
        click.echo(f"flexmpi: error: {error}", err=True)
        sys.exit(2)
