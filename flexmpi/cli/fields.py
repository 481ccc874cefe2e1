"""What `flexmpi jobs`, `nodes`, `history` and the commands that change something can show, a field each. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.filesize import decimal

from flexmpi.cli.tables import Field
from flexmpi.cluster.hostlists import fold_hosts
from flexmpi.protocol.messages import Cost
from flexmpi.protocol.replies import HistoryRow, JobRow, NodeRow

JOB_SHOWN = "job,name,user,state,size,ranks,node_hours,nodes,why"
NODE_SHOWN = "node,count,cores,state,job,why"
HISTORY_SHOWN = "time,job,outcome,stall,moved,what,cause,why"


def size(row: JobRow) -> str:
    """Return how many nodes a job holds and may hold: ``3 (1-6)``; ``3`` where these are the same."""
    least, most, now = row.minimum_nodes, row.maximum_nodes, len(row.nodes)
    if least == most:
        return str(now) if now == most else f"{now} ({most})"
    return f"{now} ({least}-{most})"


def duration(seconds: float) -> str:
    """Return a time as short as a person wants it: ``0.4 ms``, ``18 ms``, ``1.99 s``, ``12.3 s``."""
    milliseconds = 1e3 * seconds
    if round(milliseconds, 1) < 10:
        return f"{milliseconds:.1f} ms"
    if round(milliseconds) < 1000:
        return f"{milliseconds:.0f} ms"
    return f"{seconds:.2f} s" if round(seconds, 2) < 10 else f"{seconds:.1f} s"


def _watts(value: float | None) -> str | None:
    """Return watts to four digits."""
    return None if value is None else f"{value:.4g}"


def local_time(seconds: float) -> str:
    """Return a time of the epoch as Slurm's commands print it, in this machine's time zone."""
    return datetime.fromtimestamp(seconds).isoformat(timespec="seconds")


def cost_in_words(cost: Cost | None) -> str:
    """Return `` (join 11 ms, move 3.0 ms, stall 18 ms, 1.2 MB)``; nothing where nothing was measured."""
    if cost is None:
        return ""
    parts = [] if cost.start_s is None else [f"join {duration(cost.join_s)}"]
    parts += [f"move {duration(cost.move_s)}", f"stall {duration(cost.stall_s)}", decimal(cost.moved_bytes)]
    return f" ({', '.join(parts)})"


@dataclass(frozen=True)
class NodeGroup:
    """Nodes that have the same in all fields that are shown, and one of them."""

    nodes: tuple[str, ...]
    one: NodeRow


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a request that changes something, as far as it is known.

    Attributes
    ----------
    outcome
        ``dry run``, ``accepted``, ``done`` or ``failed``.
    nodes
        Those the job holds afterwards.
    """

    id: str
    job: str | None
    what: str
    outcome: str
    why: str | None = None
    cost: Cost | None = None
    nodes: tuple[str, ...] = ()


def _cost(name: str, meaning: str, shown: Callable[[Cost], str | None]) -> Field[Any]:
    return Field(name, meaning, lambda row: None if row.cost is None else shown(row.cost), number=True)


# Where nobody joined, start and join were not measured.
_COST_FIELDS = (
    _cost("start", "starting new ranks, beside the computation", lambda cost: _if_joined(cost, cost.start_s)),
    _cost("join", "connecting them", lambda cost: _if_joined(cost, cost.join_s)),
    _cost("balance", "choosing the shares", lambda cost: duration(cost.balance_s)),
    _cost("move", "moving the data", lambda cost: duration(cost.move_s)),
    _cost("part", "parting from those that leave", lambda cost: duration(cost.part_s)),
    _cost("stall", "how long the program stood still", lambda cost: duration(cost.stall_s)),
    _cost("moved", "how much data moved", lambda cost: decimal(cost.moved_bytes)),
)


def _if_joined(cost: Cost, seconds: float | None) -> str | None:
    return None if cost.start_s is None or seconds is None else duration(seconds)


JOB_FIELDS: tuple[Field[JobRow], ...] = (
    Field("job", "its number, or key", lambda row: row.job, number=True),
    Field("name", "its name", lambda row: row.name, text=True),
    Field("uid", "whose it is, as a number", lambda row: str(row.uid), number=True),
    Field("user", "whose it is", lambda row: row.user),
    Field("state", "in the resource manager's word", lambda row: row.state),
    Field("elastic", "yes where it is resized", lambda row: "yes" if row.elastic else "no"),
    Field("size", "nodes held (the range it may have)", size),
    Field("minimum", "nodes it has at least", lambda row: str(row.minimum_nodes), number=True),
    Field("maximum", "nodes it has at most", lambda row: str(row.maximum_nodes), number=True),
    Field("ranks", "ranks of the application", lambda row: None if row.ranks is None else str(row.ranks), number=True),
    Field("node_hours", "used so far, by its companions too", lambda row: f"{row.node_hours:.2f}", number=True),
    Field("nodes", "those it holds", lambda row: fold_hosts(row.nodes), text=True),
    Field("companions", "the jobs that hold nodes for it", lambda row: ",".join(map(str, row.companions)), text=True),
    Field("why", "why it waits, or is not resized", lambda row: row.why, text=True),
)

NODE_FIELDS: tuple[Field[NodeGroup], ...] = (
    Field("node", "the names", lambda row: fold_hosts(row.nodes), text=True),
    Field("count", "how many", lambda row: str(len(row.nodes)), number=True),
    Field("cores", "of each", lambda row: str(row.one.cores), number=True),
    Field("state", "all that is said of it", lambda row: "+".join(row.one.states)),
    Field("job", "the job that has it", lambda row: row.one.job, number=True),
    Field("why", "why it cannot be given to a job", lambda row: row.one.why, text=True),
    Field("idle", "watts when powered", lambda row: _watts(row.one.idle_w), number=True),
    Field("dynamic", "watts on top of that when a job has it", lambda row: _watts(row.one.dynamic_w), number=True),
    Field("source", "of the watts: declared or measured", lambda row: row.one.watts_source),
)

HISTORY_FIELDS: tuple[Field[HistoryRow], ...] = (
    Field("id", "the command's", lambda row: row.id),
    Field("time", "when it was decided", lambda row: local_time(row.decided_at)),
    Field("job", "the job", lambda row: row.job, number=True),
    Field("outcome", "observed, open, done or failed", lambda row: row.outcome),
    *_COST_FIELDS,
    # The job has a column of its own.
    Field("what", "what was to be done", lambda row: row.what.removeprefix(f"job {row.job}: "), text=True),
    Field("cause", "who or what wanted it", lambda row: row.cause, text=True),
    Field("why", "why it failed", lambda row: row.why, text=True),
)

OUTCOME_FIELDS: tuple[Field[Outcome], ...] = (
    Field("id", "the command's, as in the history", lambda row: row.id),
    Field("job", "the job", lambda row: row.job, number=True),
    Field("outcome", "dry run, accepted, done or failed", lambda row: row.outcome),
    *_COST_FIELDS,
    Field("nodes", "those the job holds afterwards", lambda row: fold_hosts(row.nodes), text=True),
    Field("what", "what was to be done", lambda row: row.what, text=True),
    Field("why", "why it failed", lambda row: row.why, text=True),
)


def group_nodes(rows: Iterable[NodeRow], fields: Sequence[Field[NodeGroup]]) -> list[NodeGroup]:
    """Put nodes together that have the same in all of these fields but ``node`` and ``count``, in order of appearance."""
    rest = [field for field in fields if field.name not in ("node", "count")]
    groups: dict[tuple[str | None, ...], list[NodeRow]] = {}
    for row in rows:
        alone = NodeGroup((row.node,), row)
        groups.setdefault(tuple(field.shown(alone) for field in rest), []).append(row)
    return [NodeGroup(tuple(row.node for row in group), group[0]) for group in groups.values()]
