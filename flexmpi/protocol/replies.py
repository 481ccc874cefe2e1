"""What the agent answers to people's commands: bytes to frozen values and back, with no socket in sight.

A question is answered by a list. What changes something is answered twice: accepted, then done or failed; or rejected at once.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from flexmpi.protocol.messages import Cost, Done, Failed, NodeNames, Rejected
from flexmpi.protocol.requests import Mode, Watts, WattsSource
from flexmpi.protocol.wire import (
    CommandId,
    Count,
    JobName,
    JobNumber,
    Line,
    Message,
    NodeName,
    PolicyName,
    PositiveCount,
    Seconds,
    UserNumber,
    Value,
    decode,
    kinds_of,
)

Outcome = Literal["observed", "open", "done", "failed"]
"""Of a decision: recorded in mode `observe` and not carried out; not over; carried out; not carried out."""


class JobRow(Value):
    """A job with its companions as one.

    Attributes
    ----------
    job
        Its number, or its key where it has none.
    state
        The resource manager's word.
    why
        Why it waits, or is not resized.
    nodes
        Those it holds, the companions' among them.
    companions
        The jobs that hold nodes for it.
    node_hours
        Used so far by all of them.
    """

    job: JobName
    name: Line
    uid: UserNumber
    user: Line
    state: Line
    why: Line | None = None
    elastic: bool
    nodes: NodeNames
    ranks: Count | None = None
    minimum_nodes: PositiveCount
    maximum_nodes: PositiveCount
    companions: tuple[JobNumber, ...] = ()
    node_hours: Annotated[float, Field(ge=0)]


class NodeRow(Value):
    """A node: what is said of it, the job that has it, and why it cannot be given to one.

    Attributes
    ----------
    idle_w, dynamic_w
        What it draws when powered, and on top of that when a job has it; None where that is not known.
    """

    node: NodeName
    cores: Count
    states: tuple[Line, ...]
    job: JobName | None = None
    why: Line | None = None
    idle_w: Watts | None = None
    dynamic_w: Watts | None = None
    watts_source: WattsSource | None = None


class HistoryRow(Value):
    """A decision and what came of it.

    Attributes
    ----------
    decided_at
        Seconds of the epoch.
    what
        What was to be done: ``expand 12 by node3``.
    cause
        Who or what wanted it.
    """

    id: CommandId
    decided_at: Seconds
    job: JobName | None
    what: Line
    cause: Line
    outcome: Outcome
    why: Line | None = None
    cost: Cost | None = None


class JobList(Message):
    """The answer to `Jobs`."""

    kind: Literal["job_list"] = "job_list"
    jobs: tuple[JobRow, ...]


class NodeList(Message):
    """The answer to `Nodes`."""

    kind: Literal["node_list"] = "node_list"
    nodes: tuple[NodeRow, ...]


class HistoryList(Message):
    """The answer to `History`."""

    kind: Literal["history_list"] = "history_list"
    entries: tuple[HistoryRow, ...]


class Settings(Message):
    """The answer to a `SetPolicy` or `SetMode` that changes nothing."""

    kind: Literal["settings"] = "settings"
    policy: PolicyName
    mode: Mode


class PowerDraw(Message):
    """The answer to a `SetPowercap` that changes nothing.

    Attributes
    ----------
    cap_w
        What all nodes together may draw; None without a limit.
    drawn_w
        What they draw now, as the cap counts it: nodes that a job has been given count before it has ranks there.
    others_w
        What of that no size of an elastic job changes: powered nodes when idle, and those that other jobs have.
    declared, measured, undeclared
        Nodes by where their watts come from; those without any count nothing.
    """

    kind: Literal["power_draw"] = "power_draw"
    cap_w: Watts | None
    drawn_w: Watts
    others_w: Watts
    declared: Count
    measured: Count = 0
    undeclared: Count


class Figure(Value):
    """A figure of a model and its standard error."""

    value: Annotated[float, Field(ge=0)]
    error: Annotated[float, Field(ge=0)]


class Alternative(Value):
    """A size that a job may have.

    Attributes
    ----------
    nodes
        The size.
    iteration_s
        Predicted.
    speed
        Relative to the job's fewest nodes.
    price
        Of an iteration, by the declared prices of nodes: node-hours where none are.
    watts, watts_source
        Of these nodes; None where they are not known. What is partly declared counts as declared.
    joules
        Of an iteration, by these watts.
    value
        What the policy takes it to be worth, with what it costs to get there; None where it does not look at that.
    """

    nodes: PositiveCount
    iteration_s: Figure
    speed: Annotated[float, Field(ge=0)]
    price: Annotated[float, Field(ge=0)]
    watts: Watts | None
    joules: Annotated[float, Field(ge=0)] | None
    watts_source: WattsSource | None = None
    value: float | None
    is_present: bool
    is_chosen: bool


class Explanation(Message):
    """The answer to `Explain`.

    Attributes
    ----------
    samples, sampled_nodes
        How many samples the model rests on, and at which sizes they were taken.
    serial_s, parallel_s, per_node_s
        The model: ``t(n) = serial + parallel / n + per_node (n - 1)`` seconds an iteration. None where there is none.
    unknown
        Why there is none.
    start_s, stall_s
        What a change of nodes is taken to cost: until newcomers are ready, and standing still.
    changes
        How many changes that was measured in; 0 where it is assumed.
    reason
        Why the job has its size, by the policy.
    changed
        Its last change, and who or what wanted it.
    """

    kind: Literal["explanation"] = "explanation"
    job: JobName
    name: Line
    user: Line
    policy: PolicyName
    nodes: NodeNames
    minimum_nodes: PositiveCount
    maximum_nodes: PositiveCount
    samples: Count
    sampled_nodes: tuple[PositiveCount, ...]
    serial_s: Figure | None
    parallel_s: Figure | None
    per_node_s: Figure | None
    unknown: Line | None
    start_s: Seconds
    stall_s: Seconds
    changes: Count
    reason: Line
    changed: Line | None
    alternatives: tuple[Alternative, ...]


class Accepted(Message):
    """A request will be carried out: `Done` or `Failed` with this id follows, unless it was for a dry run.

    Attributes
    ----------
    what
        What will be done.
    job
        Which job it concerns; of `Submit`, the new one.
    after
        The order on that job that has to be over first; None where it is carried out at once.
    """

    kind: Literal["accepted"] = "accepted"
    id: CommandId
    what: Line
    job: JobName | None = None
    after: Line | None = None
    dry_run: bool = False


Reply = JobList | NodeList | HistoryList | Settings | PowerDraw | Explanation | Accepted | Rejected | Done | Failed
_REPLIES: dict[str, type[Reply]] = kinds_of(Reply)


def decode_reply(data: bytes) -> Reply:
    """Read what the agent answered to a person's command; raises MessageError, see `flexmpi.protocol.wire.decode`."""
    return decode(data, _REPLIES)
