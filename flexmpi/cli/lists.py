"""`flexmpi jobs`, `nodes` and `history`: what the agent sees and what it decided, listed like `squeue` and `sinfo`."""

from __future__ import annotations

from typing import Any

import click

from flexmpi.cli.ask_agent import STATUSES, agent_options, connected
from flexmpi.cli.fields import (
    HISTORY_FIELDS,
    HISTORY_SHOWN,
    JOB_FIELDS,
    JOB_SHOWN,
    NODE_FIELDS,
    NODE_SHOWN,
    NodeGroup,
    group_nodes,
)
from flexmpi.cli.tables import ending, print_json, print_rows, style_of, style_options
from flexmpi.protocol.replies import HistoryList, JobList, NodeList
from flexmpi.protocol.requests import History, Jobs, Nodes

ENTRIES = 1000


@click.command(epilog=ending(JOB_FIELDS, STATUSES))
@style_options
@agent_options
def jobs(**options: Any) -> None:
    """List the jobs, each with its companions.

    SIZE is how many nodes a job holds, and the range it may have: 3 (1-6).
    """
    style = style_of(options, JOB_FIELDS, JOB_SHOWN)
    with connected(options) as agent:
        rows = agent.ask(Jobs, JobList).jobs
    if style.json:
        print_json(rows)
    else:
        print_rows(style, rows)


@click.command(epilog=ending(NODE_FIELDS, STATUSES))
@click.option("-N", "--each", is_flag=True, help="One line for each node.")
@style_options
@agent_options
def nodes(each: bool, **options: Any) -> None:
    """List the nodes, and who has them.

    Nodes that are alike in all shown fields share a line.
    """
    style = style_of(options, NODE_FIELDS, NODE_SHOWN)
    with connected(options) as agent:
        rows = agent.ask(Nodes, NodeList).nodes
    if style.json:
        print_json(rows)
    else:
        groups = [NodeGroup((row.node,), row) for row in rows] if each else group_nodes(rows, style.fields)
        print_rows(style, groups)


@click.command(epilog=ending(HISTORY_FIELDS, STATUSES))
@click.option(
    "-n", "--entries", type=click.IntRange(min=1), default=ENTRIES, show_default=True, help="At most so many."
)
@style_options
@agent_options
@click.argument("job", required=False)
def history(job: str | None, entries: int, **options: Any) -> None:
    """List decisions and what came of them.

    Of JOB or of all jobs, the newest last. OUTCOME is open while it is not over, and observed where the agent only watches.
    """
    style = style_of(options, HISTORY_FIELDS, HISTORY_SHOWN)
    with connected(options) as agent:
        rows = agent.ask(History, HistoryList, job=job, entries=entries).entries
    if style.json:
        print_json(rows)
    else:
        print_rows(style, rows)
