"""`flexmpi policy` and `flexmpi mode`: what the agent decides by and whether it acts, shown or changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import click

from flexmpi.cli.ask_agent import connected
from flexmpi.cli.changes import CHANGE_ENDING, carry_out, change_options
from flexmpi.errors import ConfigurationError
from flexmpi.protocol.requests import Mode, SetMode, SetPolicy, Settings


@click.command(epilog=CHANGE_ENDING)
@change_options
@click.argument("name", required=False)
def policy(name: str | None, **options: Any) -> None:
    """Show the policy, or change it to NAME.

    \b
    triggered  only what people command
    fill       idle nodes that nobody waits for go to elastic jobs
    fair       the same, in equal shares
    """  # noqa: D301
    if name is None:
        _say("policy", options)
    else:
        carry_out(SetPolicy, options, name=name)


@click.command(epilog=CHANGE_ENDING)
@change_options
@click.argument("mode", required=False, type=click.Choice(get_args(Mode)))
def mode(mode: Mode | None, **options: Any) -> None:
    """Show the agent's mode, or change it.

    \b
    observe  decide and record, touch nothing
    on       carry out what is decided
    off      take back every node given
    drain    give out nothing more
    """  # noqa: D301
    if mode is None:
        _say("mode", options)
    else:
        carry_out(SetMode, options, mode=mode)


def _say(setting: str, options: Mapping[str, Any]) -> None:
    if options["format_"] is not None:
        raise ConfigurationError(f"--format is for a change of the {setting}: what it is, is one word")
    with connected(options) as agent:
        settings = agent.ask(SetPolicy if setting == "policy" else SetMode, Settings)
    click.echo(settings.model_dump_json() if options["as_json"] else getattr(settings, setting))
