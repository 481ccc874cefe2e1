"""What all commands that change something share: dry run, acceptance, waiting for the outcome, and printing what it cost."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from flexmpi.cli.ask_agent import INTERRUPTED, Agent, Refused, agent_options, connected
from flexmpi.cli.fields import OUTCOME_FIELDS, Outcome, cost_in_words
from flexmpi.cli.tables import Style, ending, print_rows, style_of, style_options
from flexmpi.protocol.messages import Done, Failed
from flexmpi.protocol.replies import Accepted, HistoryList, HistoryRow
from flexmpi.protocol.requests import AnyRequest, History

WAIT_LIMIT_S = 600
LOOK_AGAIN_S = 5.0
"""An outcome that has not come for so long is looked for in the history: a restarted agent does not know who waits."""
ENTRIES_LOOKED_AT = 100

CHANGE_ENDING = ending(
    OUTCOME_FIELDS,
    "Exit status: 0 done (without --wait: accepted), 1 refused or failed, 2 wrong usage or no agent, 3 accepted but not "
    "over within --wait-limit.",
)
"""The end of the help of commands that change something."""

Command = TypeVar("Command", bound=Callable[..., Any])


class NotOver(Refused):
    """What was accepted was not over within the time that somebody wanted to wait."""

    exit_code = 3


def change_options(command: Command, *, short: bool = True) -> Command:
    """Give a command all options of one that changes something; `carry_out` takes their values.

    Parameters
    ----------
    short
        Whether ``-o`` stands for ``--format``.
    """
    for option in (
        agent_options,
        partial(style_options, short=short),
        click.option(
            "--wait-limit",
            type=click.FloatRange(min=0, min_open=True),
            default=WAIT_LIMIT_S,
            show_default=True,
            metavar="SECONDS",
            help="How long --wait waits.",
        ),
        click.option("--wait", is_flag=True, help="Wait until it is over, and print what it cost."),
        click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing."),
    ):
        command = option(command)
    return command


def carry_out(
    kind: type[AnyRequest],
    options: Mapping[str, Any],
    *,
    accepted_words: Callable[[Accepted], str] | None = None,
    **fields: Any,
) -> None:
    """Ask for a change and print what comes of it, as far as that is wanted.

    The exit status is 1 if it is refused or fails, 3 if it is not over in time.

    Parameters
    ----------
    accepted_words
        How to say that the request was accepted.
    """
    style = style_of(options, OUTCOME_FIELDS, None)
    console = Console(stderr=True)
    reply = None
    with connected(options) as agent:
        accepted = agent.ask(kind, Accepted, dry_run=options["dry_run"], **fields)
        waits = options["wait"] and not accepted.dry_run
        if accepted_words is not None and not accepted.dry_run:
            words = accepted_words(accepted)
        elif waits and console.is_terminal:
            words = None  # the bar says it
        else:
            after = f", when this is over: {accepted.after}" if accepted.after else ""
            words = f"{'would be done' if accepted.dry_run else 'accepted'}: {accepted.what}{after}"
        _print(style, accepted, words=words)
        if waits:
            with _shown_to_wait(accepted, console):
                reply = outcome_of(agent, accepted, limit_s=options["wait_limit"])
    if reply is not None:
        done = isinstance(reply, Done)
        _print(style, reply, words=f"done: {accepted.what}{cost_in_words(reply.cost)}" if done else None)
    if style.fields and not style.json:
        print_rows(style, [_outcome(accepted, reply)])
    if isinstance(reply, Failed):
        raise Refused(f"failed: {accepted.what}: {reply.why}{cost_in_words(reply.cost)}")
    if waits and reply is None:
        raise NotOver(f"not over within {options['wait_limit']:g} s: {accepted.what}{_where_it_shows(accepted)}")


def _print(style: Style[Outcome], reply: Accepted | Done | Failed, *, words: str | None) -> None:
    """Print a reply as JSON or in words; where fields are asked for, they are printed at the end instead."""
    if style.json:
        click.echo(reply.model_dump_json())
    elif words is not None and not style.fields:
        click.echo(words)


def outcome_of(agent: Agent, accepted: Accepted, *, limit_s: float) -> Done | Failed | None:
    """Wait for the outcome of what the agent accepted; None if it is not over within the limit.

    One that does not come is looked for in the history, so that an agent may be restarted meanwhile.
    """
    end = time.monotonic() + limit_s
    while (left_s := end - time.monotonic()) > 0:
        match agent.receive(min(left_s, LOOK_AGAIN_S)):
            case Done(id=accepted.id) | Failed(id=accepted.id) as reply:
                return reply
            case HistoryList(entries=entries):
                for row in entries:
                    if row.id == accepted.id and (recorded := _recorded(row)):
                        return recorded
            case None:
                agent.inquire(History, job=accepted.job, entries=ENTRIES_LOOKED_AT)
    return None


def _recorded(row: HistoryRow) -> Done | Failed | None:
    match row.outcome:
        case "open":
            return None
        case "done":
            return Done(id=row.id, cost=row.cost)
        case "observed":
            return Failed(id=row.id, why="recorded only, as the agent is in mode observe")
        case "failed":
            return Failed(id=row.id, why=row.why or "no reason was recorded", cost=row.cost)


@contextmanager
def _shown_to_wait(accepted: Accepted, console: Console) -> Iterator[None]:
    """Show on a terminal that this waits, and for how long; who interrupts it is told that the change goes on."""
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    try:
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
            progress.add_task(accepted.what, total=None)
            yield
    except KeyboardInterrupt:
        click.echo(f"flexmpi: no longer waiting; it goes on: {accepted.what}{_where_it_shows(accepted)}", err=True)
        sys.exit(INTERRUPTED)


def _outcome(accepted: Accepted, reply: Done | Failed | None) -> Outcome:
    known = "dry run" if accepted.dry_run else "accepted"
    return Outcome(
        id=accepted.id,
        job=accepted.job,
        what=accepted.what,
        outcome=known if reply is None else reply.kind,
        why=reply.why if isinstance(reply, Failed) else None,
        cost=None if reply is None else reply.cost,
        nodes=() if reply is None else tuple(held.node for held in reply.nodes),
    )


def _where_it_shows(accepted: Accepted) -> str:
    return f" (see flexmpi history{'' if accepted.job is None else f' {accepted.job}'})"
