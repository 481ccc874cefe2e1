"""What people's commands and the agent say to each other: bytes to frozen values and back, with no socket in sight.

A question is answered by a list. What changes something is answered twice: accepted, then done or failed; or rejected at once.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from flexmpi.protocol.auth import Action
from flexmpi.protocol.messages import Cost, Done, Failed, FromSupervisor, NodeNames, Rejected
from flexmpi.protocol.slurm_commands import Submission
from flexmpi.protocol.wire import (
    CommandId,
    Count,
    Credential,
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

LONGEST_SCRIPT = 4 * 1024 * 1024

Watts = Annotated[float, Field(ge=0, le=1e12)]

Mode = Literal["observe", "on", "off", "drain"]
"""Of decisions: record them only; carry them out; give everything extra back; give out nothing more."""


Outcome = Literal["observed", "open", "done", "failed"]
"""Of a decision: recorded in mode `observe` and not carried out; not over; carried out; not carried out."""


class Request(Message):
    """What every request has.

    Attributes
    ----------
    dry_run
        Say what would be done, and do nothing.
    credential
        Who asks, see `flexmpi.protocol.auth`.
    """

    dry_run: bool = False
    credential: Annotated[Credential, Field(repr=False)]


class Jobs(Request):
    """Which jobs there are."""

    kind: Literal["jobs"] = "jobs"


class Nodes(Request):
    """Which nodes there are, and who has them."""

    kind: Literal["nodes"] = "nodes"


class History(Request):
    """What was decided, the newest last: of one job or of all, at most so many entries."""

    kind: Literal["history"] = "history"
    job: JobName | None = None
    entries: PositiveCount = 1000


class OnJob(Request):
    """What every request that changes a job has: which."""

    job: JobName


class _Size(OnJob):
    """How many nodes, or which; where neither is said the agent chooses."""

    count: PositiveCount | None = None
    nodes: NodeNames = ()

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.count is not None and self.nodes:
            raise ValueError("count and nodes cannot both be given")
        return self


class Expand(_Size):
    """Give a job more nodes."""

    kind: Literal["expand"] = "expand"


class Shrink(_Size):
    """Take nodes from a job."""

    kind: Literal["shrink"] = "shrink"


class Balance(OnJob):
    """Have a job share its rows anew."""

    kind: Literal["balance"] = "balance"


class Stop(OnJob):
    """End a job."""

    kind: Literal["stop"] = "stop"


class SetPolicy(Request):
    """Change the policy, or say which it is."""

    kind: Literal["policy"] = "policy"
    name: PolicyName | None = None


class SetMode(Request):
    """Change the mode, or say which it is."""

    kind: Literal["mode"] = "mode"
    mode: Mode | None = None


class SetPowercap(Request):
    """Change what all nodes together may draw, in watts, or take that limit away; or say what it is."""

    kind: Literal["powercap"] = "powercap"
    cap_w: Watts | Literal["none"] | None = None


class Explain(Request):
    """Why a job has the size it has, and what other sizes would mean."""

    kind: Literal["explain"] = "explain"
    job: JobName


def _script(text: str) -> str:
    if not text.startswith("#!"):  # a path would be read with the agent's rights, in the agent's folder
        raise ValueError("expected the text of a script, which begins with '#!'")
    return text


class Submit(Request):
    """Submit a job to the agent's own manager of this machine's nodes. The fields are those of `Submission`."""

    kind: Literal["submit"] = "submit"
    script: Annotated[str, Field(max_length=LONGEST_SCRIPT), AfterValidator(_script)]
    arguments: tuple[str, ...] = ()
    name: Line | None = None
    nodes: PositiveCount = 1
    maximum_nodes: PositiveCount | None = None
    tasks: PositiveCount | None = None
    time_limit_s: Annotated[float, Field(gt=0)] | None = None
    output: str | None = None
    directory: str | None = None
    environment: dict[str, str] = Field(default_factory=dict, repr=False)

    def submission(self) -> Submission:
        """Return what a resource manager is given; raises ConfigurationError where a value has no meaning."""
        return Submission(**self.model_dump(exclude=set(Request.model_fields) | {"kind"}))


AnyRequest = (
    Jobs | Nodes | History | Expand | Shrink | Balance | Stop | SetPolicy | SetMode | SetPowercap | Explain | Submit
)


def action_of(request: AnyRequest) -> Action:
    """Return what somebody who asks this must be allowed to do; a dry run needs what the real one needs."""
    match request:
        case Jobs() | Nodes() | History() | Explain() | SetPolicy(name=None) | SetMode(mode=None):
            return Action.READ
        case SetPowercap():
            return Action.READ if request.cap_w is None else Action.POLICY
        case _:
            return Action(request.kind)


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
    """A node: what is said of it, the job that has it, and why it cannot be given to one."""

    node: NodeName
    cores: Count
    states: tuple[Line, ...]
    job: JobName | None = None
    why: Line | None = None


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
    """The answer to a `SetPowercap` that changes nothing. Watts are declared, not measured.

    Attributes
    ----------
    cap_w
        What all nodes together may draw; None without a limit.
    drawn_w
        What they draw now, as the cap counts it: nodes that a job has been given count before it has ranks there.
    others_w
        What of that no size of an elastic job changes: powered nodes when idle, and those that other jobs have.
    declared, undeclared
        Nodes with and without declared watts; the latter count nothing.
    """

    kind: Literal["power_draw"] = "power_draw"
    cap_w: Watts | None
    drawn_w: Watts
    others_w: Watts
    declared: Count
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
    watts
        Of these nodes, as declared; None where they are not.
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
    """

    kind: Literal["accepted"] = "accepted"
    id: CommandId
    what: Line
    job: JobName | None = None
    dry_run: bool = False


Reply = JobList | NodeList | HistoryList | Settings | PowerDraw | Explanation | Accepted | Rejected | Done | Failed
_REQUESTS: dict[str, type[AnyRequest]] = kinds_of(AnyRequest)
_REPLIES: dict[str, type[Reply]] = kinds_of(Reply)


def decode_request(data: bytes) -> AnyRequest:
    """Read what a person's command sent; raises MessageError, see `flexmpi.protocol.wire.decode`."""
    return decode(data, _REQUESTS)


def decode_to_agent(data: bytes) -> FromSupervisor | AnyRequest:
    """Read what a supervisor or a person's command sent; raises MessageError, see `flexmpi.protocol.wire.decode`."""
    kinds: dict[str, Any] = kinds_of(FromSupervisor) | _REQUESTS
    message: FromSupervisor | AnyRequest = decode(data, kinds)
    return message


def decode_reply(data: bytes) -> Reply:
    """Read what the agent answered to a person's command; raises MessageError, see `flexmpi.protocol.wire.decode`."""
    return decode(data, _REPLIES)
