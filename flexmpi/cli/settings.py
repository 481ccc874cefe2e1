"""`flexmpi policy`, `mode` and `powercap`: what the agent decides by and whether it acts, shown or changed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, get_args

import click

from flexmpi.cli.ask_agent import connected
from flexmpi.cli.changes import CHANGE_ENDING, carry_out, change_options
from flexmpi.errors import ConfigurationError
from flexmpi.protocol.replies import PowerDraw, Settings
from flexmpi.protocol.requests import Mode, SetMode, SetPolicy, SetPowercap

_POWER = re.compile(r"([0-9]+(?:\.[0-9]*)?)\s*(|w|kw|mw)", re.IGNORECASE)
_UNITS = {"": 1.0, "w": 1.0, "kw": 1e3, "mw": 1e6}


@click.command(epilog=CHANGE_ENDING)
@change_options
@click.argument("name", required=False)
def policy(name: str | None, **options: Any) -> None:
    """Show the policy, or change it to NAME.

    \b
    triggered  only what people command
    fill       idle nodes that nobody waits for go to elastic jobs
    fair       the same, in equal shares
    throughput sizes by forecasts: the largest sum of relative speeds
    deadline   the same, jobs that would not finish in time first
    cost       sizes by forecasts: the lowest price of an iteration
    energy     sizes by forecasts: the fewest joules for an iteration
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


@click.command(epilog=CHANGE_ENDING)
@change_options
@click.argument("watts", required=False)
def powercap(watts: str | None, **options: Any) -> None:
    """Show what all nodes draw together and may draw, or change the latter to WATTS: 900, 1.2kW, or none.

    The figures are the watts that the agent's settings declare for nodes, or that jobs have measured where the settings say
    so. When the cap is lowered, elastic jobs shrink at once, whatever the policy; they never grow beyond it.
    """
    if watts is not None:
        carry_out(SetPowercap, options, cap_w=_watts(watts))
        return
    _refuse_format("power cap", options)
    with connected(options) as agent:
        draw = agent.ask(SetPowercap, PowerDraw)
    if options["as_json"]:
        click.echo(draw.model_dump_json())
        return
    cap = "no power cap" if draw.cap_w is None else f"power cap {draw.cap_w:g} W"
    counted = draw.declared + draw.measured
    if not counted:
        click.echo(f"{cap}; no watts of nodes are declared")
        return
    without = f"; {_nodes(draw.undeclared)} without declared watts not counted" if draw.undeclared else ""
    click.echo(f"{cap}; {draw.drawn_w:g} W drawn by {_nodes(counted)} ({_sources(draw)}){without}")


def _nodes(count: int) -> str:
    return f"{count} node{'' if count == 1 else 's'}"


def _sources(draw: PowerDraw) -> str:
    """Say where the watts come from: ``declared``, ``measured``, or ``2 declared, 4 measured``."""
    if draw.declared and draw.measured:
        return f"{draw.declared} declared, {draw.measured} measured"
    return "measured" if draw.measured else "declared"


def _watts(text: str) -> float | str:
    """Read a power: ``900``, ``900W``, ``1.2kW``, ``none``."""
    if text.lower() == "none":
        return "none"
    found = _POWER.fullmatch(text)
    if found is None:
        raise ConfigurationError(f"expected watts such as 900, 900W or 1.2kW, or none, got {text!r}")
    return float(found[1]) * _UNITS[found[2].lower()]


def _say(setting: str, options: Mapping[str, Any]) -> None:
    _refuse_format(setting, options)
    with connected(options) as agent:
        settings = agent.ask(SetPolicy if setting == "policy" else SetMode, Settings)
    click.echo(settings.model_dump_json() if options["as_json"] else getattr(settings, setting))


def _refuse_format(setting: str, options: Mapping[str, Any]) -> None:
    if options["format_"] is not None:
        raise ConfigurationError(f"--format is for a change of the {setting}: what it is, is one line")
