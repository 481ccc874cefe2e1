"""The `flexmpi` command: its subcommands, and how an error reaches the user."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from flexmpi import __version__
from flexmpi.errors import ConfigurationError, FlexMPIError

ALONE = {name: name for name in ("agent", "controller", "demo", "doctor", "run", "send")}
"""Commands and the modules they are in. One is loaded when it is asked for: a job need not wait for what others are made of."""
WITH_AGENT = {
    "balance": "resize",
    "expand": "resize",
    "history": "lists",
    "jobs": "lists",
    "mode": "settings",
    "nodes": "lists",
    "policy": "settings",
    "shrink": "resize",
    "stop": "resize",
    "submit": "submit",
}
"""Commands that speak to an agent, and the modules they are in, which need libraries that no job needs."""
LIBRARIES = ("pydantic", "zmq")
REMEDY = "needs pip install 'flexmpi[agent]'"


class Commands(click.Group):
    """All commands; those of `WITH_AGENT` say what to install where it is missing."""

    def list_commands(self, context: click.Context) -> list[str]:
        """Return the names of all."""
        return sorted([*ALONE, *WITH_AGENT])

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Return a command; None where there is none of this name."""
        module = {**ALONE, **WITH_AGENT}.get(name)
        if module is None:
            return None
        try:
            command: click.Command = getattr(import_module(f"flexmpi.cli.{module}"), name)
        except ModuleNotFoundError as error:
            if name in ALONE or error.name not in LIBRARIES:
                raise
            return _unusable(name)
        return command


def _unusable(name: str) -> click.Command:
    def fail() -> None:
        raise ConfigurationError(f"flexmpi {name} {REMEDY}")

    anything = {"ignore_unknown_options": True, "allow_extra_args": True}
    return click.Command(name, callback=fail, help=REMEDY, context_settings=anything)


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
