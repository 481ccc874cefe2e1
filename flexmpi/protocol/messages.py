"""What supervisors and the agent say to each other: bytes to frozen values and back, with no socket in sight.

The agent knows a supervisor by the key of its connection, so only `Register` names the job: nobody can
speak for another's. Commands and `Unknown` go to the connection from which the job registered last.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, Field, model_validator

from flexmpi.protocol.wire import (
    LARGEST_INTEGER,
    CommandId,
    Count,
    Credential,
    Host,
    Integer,
    JobKey,
    JobNumber,
    Line,
    Message,
    NodeName,
    PositiveCount,
    Seconds,
    UserNumber,
    Value,
    decode,
    kinds_of,
)

T = TypeVar("T")

LONGEST_PERIOD_S = 1e7
MOST_WATTS = 1e5
"""Of one node: more is a slip of a meter."""


class Address(Value):
    """Where a job listens for text commands."""

    host: Host
    port: Annotated[int, Field(ge=1, le=65535)]


class NodeRanks(Value):
    """A node that a job holds, and how many ranks of the application are on it; 0 where all have left or are parked."""

    node: NodeName
    ranks: Count


class NodeEnergy(Value):
    """What a node of a job, a machine of its own, has spent in a while, by its meters of processors and memory.

    Attributes
    ----------
    processor_s
        Processor seconds that the job's ranks spent there meanwhile.
    """

    node: NodeName
    seconds: Annotated[float, Field(gt=0, le=LONGEST_PERIOD_S)]
    joules: Annotated[float, Field(ge=0)]
    processor_s: Seconds

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.joules > MOST_WATTS * self.seconds:
            raise ValueError(f"joules must be those of {MOST_WATTS:g} W at most")
        return self


def _each_once(nodes: tuple[T, ...]) -> tuple[T, ...]:
    names = {one.node if isinstance(one, NodeRanks | NodeEnergy) else one for one in nodes}
    if len(names) < len(nodes):
        raise ValueError("expected each node once")
    return nodes


Held = Annotated[tuple[NodeRanks, ...], AfterValidator(_each_once)]
"""The nodes a job holds, each once, the one it cannot give back (its floor) first."""
NodeNames = Annotated[tuple[NodeName, ...], AfterValidator(_each_once)]
Energies = Annotated[tuple[NodeEnergy, ...], AfterValidator(_each_once)]


class Cost(Value):
    """What a reconfiguration cost, as measured: seconds of the slowest rank, and the bytes that moved between ranks.

    Attributes
    ----------
    start_s
        From the command until the newcomers were ready, the application computing on; None where nobody joined.
    join_s, balance_s, move_s, part_s
        The phases of the stall: joining, choosing the distribution, moving the data, parting from those that leave.
    stall_s
        How long the application stood still.
    """

    start_s: Seconds | None
    join_s: Seconds
    balance_s: Seconds
    move_s: Seconds
    part_s: Seconds
    stall_s: Seconds
    moved_bytes: Integer


class Register(Message):
    """A job, as its supervisor tells it, when it meets an agent or one that does not know it.

    Attributes
    ----------
    job_key
        What the supervisor calls its job for as long as it runs. It is no secret.
    job_id
        The resource manager's number of the job; None where it runs under none.
    array_job_id, array_task_id
        Of a task of a job array.
    nodes
        Those it holds, its floor first.
    udp
        Where it listens for text commands.
    epoch
        The newest that it has seen, see `flexmpi.protocol.fence`; 0 before the first.
    unfinished
        The commands it has taken and neither done nor given up, so that an agent without memory can wait for them.
    """

    kind: Literal["register"] = "register"
    job_key: JobKey
    job_id: JobNumber | None
    array_job_id: JobNumber | None = None
    array_task_id: Integer | None = None
    name: Line
    uid: UserNumber
    user: Line
    nodes: Annotated[Held, Field(min_length=1)]
    minimum_nodes: PositiveCount
    maximum_nodes: PositiveCount
    processes_per_node: PositiveCount
    udp: Address | None
    epoch: Integer
    unfinished: tuple[CommandId, ...] = ()
    credential: Annotated[Credential, Field(repr=False)]

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.maximum_nodes < self.minimum_nodes:
            raise ValueError(f"maximum_nodes must be minimum_nodes ({self.minimum_nodes}) or more")
        if (self.array_job_id is None) != (self.array_task_id is None):
            raise ValueError("array_job_id and array_task_id go together")
        return self


class Sample(Message):
    """What a job measured in one sampling interval: seconds of one rank in the whole interval.

    Attributes
    ----------
    iteration
        The iterations completed so far.
    iterations
        How many of them lie in the interval.
    maximum
        How many the loop has at most; None where that is not told.
    slowest_real_s
        Of the rank that took longest.
    mean_busy_s, mean_communication_s, mean_io_s
        Of all ranks.
    nodes
        Those it holds, so that what the agent takes it to hold heals after a lost message.
    energy
        What has been read since the last sample, of nodes where that can be measured: none in most clusters.
    """

    kind: Literal["sample"] = "sample"
    iteration: Integer
    iterations: Annotated[int, Field(ge=1, le=LARGEST_INTEGER)]
    maximum: Integer | None = None
    slowest_real_s: Seconds
    mean_busy_s: Seconds
    mean_communication_s: Seconds
    mean_io_s: Seconds
    nodes: Held
    energy: Energies = ()

    @property
    def ranks(self) -> int:
        """How many ranks computed."""
        return sum(one.ranks for one in self.nodes)


class Acknowledged(Message):
    """The job has taken a command and will report `Done` or `Failed`. One that it took before is not carried out again."""

    kind: Literal["acknowledged"] = "acknowledged"
    id: CommandId


class Refused(Message):
    """The job does not take a command; `epoch` is the newest it has seen."""

    kind: Literal["refused"] = "refused"
    id: CommandId
    why: Line
    epoch: Integer


class Done(Message):
    """A command has been carried out: what it cost, where anything was reconfigured, and the nodes held now."""

    kind: Literal["done"] = "done"
    id: CommandId
    cost: Cost | None = None
    nodes: Held = ()


class Failed(Message):
    """A command that was taken could not be carried out: why, what it cost all the same, and the nodes held now."""

    kind: Literal["failed"] = "failed"
    id: CommandId
    why: Line
    cost: Cost | None = None
    nodes: Held = ()


class Ended(Message):
    """The application has ended; nothing of the job follows.

    Attributes
    ----------
    status
        The exit status of `flexmpi run`.
    why
        What went wrong, if anything did.
    """

    kind: Literal["ended"] = "ended"
    status: Annotated[int, Field(ge=0, le=255)]
    why: Line | None = None


class Registered(Message):
    """The agent knows the job from now on; commands older than `epoch` are of an agent that is gone."""

    kind: Literal["registered"] = "registered"
    epoch: Integer


class Unknown(Message):
    """The agent does not know who speaks, having been restarted: register again."""

    kind: Literal["unknown"] = "unknown"


class Rejected(Message):
    """The agent does not take a message or a request: it is not understood, not believed or not allowed."""

    kind: Literal["rejected"] = "rejected"
    why: Line


class Command(Message):
    """What every command has.

    Attributes
    ----------
    id
        A command that is sent again keeps it, so that it is carried out once.
    epoch
        That of the plan it belongs to, see `flexmpi.protocol.fence`.
    cause
        Who or what wants it, for a person to read.
    """

    id: CommandId
    epoch: Integer
    cause: Line


class Resize(Command):
    """Join and leave nodes, in one reconfiguration."""

    kind: Literal["resize"] = "resize"
    add: NodeNames = ()
    leave: NodeNames = ()

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if not self.add and not self.leave:
            raise ValueError("no node to add or to leave")
        if both := set(self.add) & set(self.leave):
            raise ValueError(f"{min(both)} cannot both be added and left")
        return self


class Balance(Command):
    """Share the rows anew by what the ranks have measured."""

    kind: Literal["balance"] = "balance"


class Stop(Command):
    """End the application."""

    kind: Literal["stop"] = "stop"


class Withdraw(Message):
    """Take a command back that gives nodes, for they are needed elsewhere, or the job is to shrink instead.

    The job gives up waiting for them and reports `Failed`. What the application has been asked for already goes on to `Done`;
    a command that has not come yet is refused.

    Attributes
    ----------
    id
        The command's.
    why
        For a person to read.
    """

    kind: Literal["withdraw"] = "withdraw"
    id: CommandId
    why: Line


FromSupervisor = Register | Sample | Acknowledged | Refused | Done | Failed | Ended
FromAgent = Registered | Unknown | Rejected | Resize | Balance | Stop | Withdraw
_FROM_SUPERVISOR: dict[str, type[FromSupervisor]] = kinds_of(FromSupervisor)
_FROM_AGENT: dict[str, type[FromAgent]] = kinds_of(FromAgent)


def decode_from_supervisor(data: bytes) -> FromSupervisor:
    """Read what a supervisor sent; raises MessageError, see `flexmpi.protocol.wire.decode`."""
    return decode(data, _FROM_SUPERVISOR)


def decode_from_agent(data: bytes) -> FromAgent:
    """Read what the agent sent to a supervisor; raises MessageError, see `flexmpi.protocol.wire.decode`."""
    return decode(data, _FROM_AGENT)
