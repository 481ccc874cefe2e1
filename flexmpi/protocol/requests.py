"""What people's commands ask of the agent: bytes to frozen values and back, with no socket in sight.

What it answers is in `replies`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from flexmpi.cluster.submission import Submission
from flexmpi.protocol.auth import Action
from flexmpi.protocol.messages import FromSupervisor, NodeNames
from flexmpi.protocol.wire import (
    Credential,
    JobName,
    Line,
    Message,
    PolicyName,
    PositiveCount,
    decode,
    kinds_of,
)

LONGEST_SCRIPT = 4 * 1024 * 1024

Watts = Annotated[float, Field(ge=0, le=1e12)]
WattsSource = Literal["declared", "measured"]
"""An administrator's word, or meters of processors and memory that jobs have read."""

Mode = Literal["observe", "on", "off", "drain"]
"""Of decisions: record them only; carry them out; give everything extra back; give out nothing more."""


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
            return Action.READ if request.cap_w is None else Action.POWERCAP
        case _:
            return Action(request.kind)


_REQUESTS: dict[str, type[AnyRequest]] = kinds_of(AnyRequest)


def decode_request(data: bytes) -> AnyRequest:
    """Read what a person's command sent; raises MessageError, see `flexmpi.protocol.wire.decode`."""
    return decode(data, _REQUESTS)


def decode_to_agent(data: bytes) -> FromSupervisor | AnyRequest:
    """Read what a supervisor or a person's command sent; raises MessageError, see `flexmpi.protocol.wire.decode`."""
    kinds: dict[str, Any] = kinds_of(FromSupervisor) | _REQUESTS
    message: FromSupervisor | AnyRequest = decode(data, kinds)
    return message
