"""`flexmpi expand`, `shrink`, `balance` and `stop`: what people have the agent do to one job."""

from __future__ import annotations

from typing import Any

import click

from flexmpi.cli.changes import CHANGE_ENDING, carry_out, change_options
from flexmpi.cluster.hostlists import expand_hosts
from flexmpi.errors import ConfigurationError, ManagerError
from flexmpi.numerals import whole_number
from flexmpi.protocol.requests import Balance, Expand, Shrink, Stop


def how_many_or_which(text: str | None) -> dict[str, Any]:
    """Read ``NODES|NODELIST``: a number is how many, else it is a list such as ``node[1-2]``; nothing leaves it open.

    Raises
    ------
    ConfigurationError
        It is neither.
    """
    expected = "expected how many nodes, or a list such as node[1-2]"
    if text is None:
        return {}
    if text.lstrip("+-").isdecimal():
        if not (count := whole_number(text)):
            raise ConfigurationError(f"{expected}, got {text!r}")
        return {"count": count}
    try:
        nodes = expand_hosts(text)
    except ManagerError:
        raise ConfigurationError(f"{expected}, got {text!r}") from None
    if not nodes:
        raise ConfigurationError(f"{expected}, got {text!r}")
    return {"nodes": nodes}


@click.command(epilog=CHANGE_ENDING)
@change_options
@click.argument("job")
@click.argument("nodes", required=False, metavar="[NODES|NODELIST]")
def expand(job: str, nodes: str | None, **options: Any) -> None:
    """Give JOB more nodes.

    So many (2), or these (node[1-2]); else the agent chooses.

    For example: flexmpi expand 12 node3 --wait
    """
    carry_out(Expand, options, job=job, **how_many_or_which(nodes))


@click.command(epilog=CHANGE_ENDING)
@change_options
@click.argument("job")
@click.argument("nodes", required=False, metavar="[NODES|NODELIST]")
def shrink(job: str, nodes: str | None, **options: Any) -> None:
    """Take nodes from JOB.

    So many (2), or these (node[1-2]); else the agent chooses.

    For example: flexmpi shrink 12 2 --wait
    """
    carry_out(Shrink, options, job=job, **how_many_or_which(nodes))


@click.command(epilog=CHANGE_ENDING)
@change_options
@click.argument("job")
def balance(job: str, **options: Any) -> None:
    """Have JOB share its rows anew.

    By what its ranks have measured.
    """
    carry_out(Balance, options, job=job)


@click.command(epilog=CHANGE_ENDING)
@change_options
@click.argument("job")
def stop(job: str, **options: Any) -> None:
    """End JOB and give back all its nodes."""
    carry_out(Stop, options, job=job)
