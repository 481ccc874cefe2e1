"""`flexmpi explain`: why a job has the size it has, and what other sizes would mean, on one screen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from flexmpi.cli.ask_agent import STATUSES, agent_options, connected
from flexmpi.cli.fields import duration
from flexmpi.cli.tables import Field, ending, print_rows, style_of, style_options
from flexmpi.cluster.hostlists import fold_hosts
from flexmpi.protocol.replies import Alternative, Explanation, Figure
from flexmpi.protocol.requests import Explain


def _optional(value: float | None) -> str | None:
    return None if value is None else f"{value:.4g}"


def _which(row: Alternative) -> str | None:
    words = [word for word, holds in (("present", row.is_present), ("chosen", row.is_chosen)) if holds]
    return ", ".join(words) or None


FIELDS: tuple[Field[Alternative], ...] = (
    Field("nodes", "the size", lambda row: str(row.nodes), number=True),
    Field("iteration", "predicted time of an iteration", lambda row: duration(row.iteration_s.value), number=True),
    Field("error", "its standard error", lambda row: duration(row.iteration_s.error), number=True),
    Field("speed", "relative to the fewest nodes", lambda row: f"{row.speed:.2f}", number=True),
    Field("price", "of an iteration, by declared prices", lambda row: f"{row.price:.3g}", number=True),
    Field("watts", "of the nodes", lambda row: _optional(row.watts), number=True),
    Field("joules", "of an iteration, by these watts", lambda row: _optional(row.joules), number=True),
    Field("source", "of the watts: declared or measured", lambda row: row.watts_source),
    Field("value", "to the policy, less what it costs to get there", lambda row: _optional(row.value), number=True),
    Field("size", "present, chosen, or neither", _which),
)
SHOWN = "nodes,iteration,error,speed,price,watts,joules,value,size"


@click.command(epilog=ending(FIELDS, STATUSES))
@style_options
@agent_options
@click.argument("job")
def explain(job: str, **options: Any) -> None:
    """Say why JOB has its size: what the agent has learnt of it, what other sizes would mean, and what the policy says."""
    style = style_of(options, FIELDS, SHOWN)
    with connected(options) as agent:
        explained = agent.ask(Explain, Explanation, job=job)
    if style.json:
        click.echo(explained.model_dump_json(indent=2))
        return
    if options["format_"] is None:
        for line in lines(explained):
            click.echo(line)
    print_rows(style, explained.alternatives)


def lines(explained: Explanation) -> Iterator[str]:
    """Yield what is said above the sizes."""
    least, most = explained.minimum_nodes, explained.maximum_nodes
    yield (
        f"job {explained.job} ({explained.name}) of {explained.user}: {len(explained.nodes)} of {least}-{most} nodes "
        f"({fold_hosts(explained.nodes)})"
    )
    yield f"model     {_model(explained)}"
    measured = f"mean of {explained.changes}" if explained.changes else "assumed, none measured yet"
    yield f"a change  start {duration(explained.start_s)}, stall {duration(explained.stall_s)} ({measured})"
    yield f"policy    {explained.policy}"
    yield f"reason    {explained.reason}"
    if explained.changed is not None:
        yield f"changed   {explained.changed}"
    if by_source := _by_source(explained):
        yield f"watts     {by_source}"
    if explained.alternatives:
        yield ""


def _by_source(explained: Explanation) -> str:
    """Say where the watts come from, and of which sizes where not all are alike; nothing where none are known."""
    sizes: dict[str, list[str]] = {}
    for row in explained.alternatives:
        if row.watts_source is not None:
            sizes.setdefault(row.watts_source, []).append(str(row.nodes))
    if len(sizes) == 1:
        return next(iter(sizes))
    return ", ".join(f"{source} for {' '.join(of)} nodes" for source, of in sizes.items())


def _model(explained: Explanation) -> str:
    terms = (explained.serial_s, explained.parallel_s, explained.per_node_s)
    if None in terms:
        return f"none: {explained.unknown}"
    serial, parallel, per_node = map(_in_seconds, terms)
    sizes = ", ".join(map(str, explained.sampled_nodes))
    return (
        f"t(n) = {serial} + {parallel} / n + {per_node} (n - 1) seconds an iteration, from {explained.samples} samples at "
        f"n = {sizes}"
    )


def _in_seconds(figure: Figure | None) -> str:
    return "" if figure is None else f"({figure.value:.3g} ± {figure.error:.1g})"
