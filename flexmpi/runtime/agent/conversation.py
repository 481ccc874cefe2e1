"""What one job says to the agent and what it makes of the answers, with no socket, clock or process.

What happens goes in by methods; each returns what is to be done, in order. The states are a table; a step that is not in it
raises. Whoever owns the socket, the munge command and the job is `link`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from flexmpi.errors import MessageError
from flexmpi.protocol.fence import Fence
from flexmpi.protocol.messages import (
    Acknowledged,
    Address,
    Balance,
    Cost,
    Done,
    Ended,
    Failed,
    FromSupervisor,
    Held,
    Refused,
    Register,
    Registered,
    Rejected,
    Resize,
    Sample,
    Stop,
    Unknown,
    Withdraw,
    decode_from_agent,
)

AnyCommand = Resize | Balance | Stop
Answer = Acknowledged | Refused | Done | Failed

ANSWER_LIMIT_S = 10.0
"""How long the agent may take to answer a registration."""
QUIET_S = 20.0
"""A job that has said nothing for so long registers again: the agent must not take it for dead."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 60.0
"""Between a registration that failed and the next, doubled each time."""
PATIENCE_S = 20.0
"""How long nobody is told that the agent does not answer: one that is restarted is back by then."""
REMEMBERED = 1000
"""How many commands are known again that are over."""

SILENT = "it does not answer; the job runs on without it"
ENDED_FIRST = "the application ended first"


class State(Enum):
    """How a job and its agent are with each other."""

    APART = "apart"
    """There is no connection."""
    PROVING = "proving"
    """A credential is being made for the connection."""
    ASKING = "asking"
    """The job has registered and waits for an answer."""
    WAITING = "waiting"
    """It could not register, and will try again."""
    KNOWN = "known"
    ENDED = "ended"


STEPS: Mapping[State, frozenset[State]] = {
    State.APART: frozenset({State.PROVING, State.ENDED}),
    State.PROVING: frozenset({State.ASKING, State.WAITING, State.APART, State.ENDED}),
    State.ASKING: frozenset({State.KNOWN, State.WAITING, State.PROVING, State.APART, State.ENDED}),
    State.WAITING: frozenset({State.PROVING, State.APART, State.ENDED}),
    State.KNOWN: frozenset({State.PROVING, State.APART, State.ENDED}),
    State.ENDED: frozenset(),
}


@dataclass(frozen=True)
class Send:
    """A message is to be sent."""

    message: FromSupervisor


@dataclass(frozen=True)
class Prove:
    """A credential is to be made for the connection; `Conversation.proved` or `unproved` wants to know."""


@dataclass(frozen=True)
class CarryOut:
    """A command is to be begun; at once `Conversation.taken` or `refused` wants to know, and later what came of it."""

    command: AnyCommand


@dataclass(frozen=True)
class TakeBack:
    """A command that is being carried out is to be given up, if the application has not been asked yet."""

    command: AnyCommand
    why: str


@dataclass(frozen=True)
class Problem:
    """Something a person should know of the agent, once."""

    what: str


@dataclass(frozen=True)
class Joined:
    """The agent knows the job, as it did not before."""


Act = Send | Prove | CarryOut | TakeBack | Problem | Joined


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a job tells of itself that stays so; the fields are those of `flexmpi.protocol.messages.Register`."""

    job_key: str
    job_id: int | None
    array_job_id: int | None
    array_task_id: int | None
    name: str
    uid: int
    user: str
    minimum_nodes: int
    maximum_nodes: int
    processes_per_node: int
    udp: Address | None


@dataclass
class Conversation:
    """One job's talk with the agent.

    Parameters
    ----------
    facts
        Of the job.
    clock
        Seconds; only differences count.

    Attributes
    ----------
    fence
        The epochs seen so far.
    unfinished
        The commands that were taken and are not over, by id.
    """

    facts: Facts
    clock: Callable[[], float]
    state: State = State.APART
    fence: Fence = field(default_factory=Fence)
    unfinished: dict[str, AnyCommand] = field(default_factory=dict)
    _answers: dict[str, Answer] = field(default_factory=dict)
    _unsaid: list[Answer] = field(default_factory=list)
    _is_known: bool = False
    _pause_s: float = FIRST_PAUSE_S
    _again_at: float = 0.0
    _said_at: float = 0.0
    _known_at: float = 0.0

    def __post_init__(self) -> None:
        self._known_at = self.clock()

    # What happens to the connection.

    def connected(self) -> list[Act]:
        """The agent is reached, and has proved that it is the right one."""
        if self.state is State.ENDED:
            return []
        self.disconnected()
        return self._prove()

    def disconnected(self) -> None:
        """The connection is lost."""
        if self.state not in (State.APART, State.ENDED):
            self._step(State.APART)
        if self._is_known:
            self._is_known, self._known_at = False, self.clock()

    def proved(self, credential: str, nodes: Held) -> list[Act]:
        """There is a credential for the connection: the job registers with the nodes it holds."""
        if self.state is not State.PROVING:
            return []
        self._step(State.ASKING)
        self._again_at = self.clock() + ANSWER_LIMIT_S
        return [self._send(self.register(credential, nodes))]

    def unproved(self, why: str) -> list[Act]:
        """No credential could be made."""
        return self._wait(f"no credential for it: {why}") if self.state is State.PROVING else []

    def tick(self) -> list[Act]:
        """Time has passed: do what is due. To be called about every second."""
        now = self.clock()
        if self.state is State.ENDED:
            return []
        if self.state is State.KNOWN:
            self._known_at = now
            return self._prove() if now - self._said_at >= QUIET_S else []
        late = self.state in (State.WAITING, State.ASKING) and now >= self._again_at
        acts: list[Act] = []
        if now - self._known_at >= PATIENCE_S and (self.state is State.APART or (late and self.state is State.ASKING)):
            self._is_known = False
            acts.append(Problem(SILENT))
        return acts + self._prove() if late else acts

    def register(self, credential: str, nodes: Held) -> Register:
        """Return the message by which the job registers.

        Raises
        ------
        ValueError
            A fact has no place in it.
        """
        return Register(
            **vars(self.facts),
            nodes=nodes,
            epoch=self.fence.newest,
            unfinished=tuple(self.unfinished),
            credential=credential,
        )

    # What the agent says.

    def received(self, data: bytes, nodes: Held) -> list[Act]:
        """Take in a message.

        Parameters
        ----------
        nodes
            Those held now.
        """
        if self.state is State.ENDED:
            return []
        try:
            message = decode_from_agent(data)
        except MessageError as error:
            return [Problem(f"it says what is not understood: {error}")]
        match message:
            case Registered():
                return self._registered(message, nodes)
            case Unknown():
                return self._prove() if self.state is State.KNOWN else []
            case Rejected():
                return self._rejected(message)
            case Withdraw():
                return self._withdrawn(message, nodes)
            case _:
                return self._command(message, nodes)

    def _registered(self, message: Registered, nodes: Held) -> list[Act]:
        self.fence.take(message.epoch)
        if self.state is not State.ASKING:
            return []
        self._step(State.KNOWN)
        self._pause_s, self._known_at = FIRST_PAUSE_S, self.clock()
        acts: list[Act] = [] if self._is_known else [Joined()]
        self._is_known = True
        unsaid, self._unsaid = self._unsaid, []
        return acts + [self._send(_as_of_now(answer, nodes)) for answer in unsaid]

    def _rejected(self, message: Rejected) -> list[Act]:
        if self.state is State.ASKING:
            return self._wait(f"it does not take this job: {message.why}")
        return [Problem(f"it does not take a message: {message.why}")]

    def _command(self, command: AnyCommand, nodes: Held) -> list[Act]:
        """Know a command again by its id, whatever its epoch; refuse one of an old plan; have others carried out."""
        if (answer := self._answers.get(command.id)) is not None:
            return self._say(_as_of_now(answer, nodes))
        if (why := self.fence.take(command.epoch)) is not None:
            return self.refused(command, why)
        return [CarryOut(command)]

    def _withdrawn(self, message: Withdraw, nodes: Held) -> list[Act]:
        """Give a command up; one that is over is answered as ever, and one that has not come is refused when it does."""
        if (command := self.unfinished.get(message.id)) is not None:
            return [TakeBack(command, message.why)]
        if (answer := self._answers.get(message.id)) is not None:
            return self._say(_as_of_now(answer, nodes))
        return self._answer(Refused(id=message.id, why=message.why, epoch=self.fence.newest))

    # What the job says.

    def taken(self, command: AnyCommand) -> list[Act]:
        """A command is being carried out."""
        self.unfinished[command.id] = command
        return self._answer(Acknowledged(id=command.id))

    def refused(self, command: AnyCommand, why: str) -> list[Act]:
        """A command cannot be carried out, and nothing of it has been."""
        return self._answer(Refused(id=command.id, why=why, epoch=self.fence.newest))

    def done(self, command: AnyCommand, nodes: Held, *, cost: Cost | None) -> list[Act]:
        """A command has been carried out."""
        return self._over(Done(id=command.id, cost=cost, nodes=nodes))

    def failed(self, command: AnyCommand, nodes: Held, *, why: str, cost: Cost | None = None) -> list[Act]:
        """A command that was taken could not be carried out."""
        return self._over(Failed(id=command.id, why=why, cost=cost, nodes=nodes))

    def sampled(self, sample: Sample) -> list[Act]:
        """A sampling interval has ended; nobody is told later who was not there."""
        return [self._send(sample)] if self.state is State.KNOWN else []

    def ended(self, *, status: int, why: str | None) -> list[Act]:
        """The job has ended; whoever is still there is told what became of its commands, and nothing follows."""
        if self.state is State.ENDED:
            return []
        acts: list[Act] = []
        if self.state is State.KNOWN:
            for command in list(self.unfinished.values()):
                stopped = isinstance(command, Stop)
                acts += self.done(command, (), cost=None) if stopped else self.failed(command, (), why=ENDED_FIRST)
            acts.append(self._send(Ended(status=status, why=why)))
        self._step(State.ENDED)
        return acts

    def _over(self, answer: Done | Failed) -> list[Act]:
        if self.unfinished.pop(answer.id, None) is None:
            return []
        return self._answer(answer)

    def _answer(self, answer: Answer) -> list[Act]:
        """Say what becomes of a command, and know it when it comes again."""
        self._answers.pop(answer.id, None)
        self._answers[answer.id] = answer
        over = [known for known in self._answers if known not in self.unfinished]
        for known in over[:-REMEMBERED]:
            del self._answers[known]
        return self._say(answer)

    def _say(self, answer: Answer) -> list[Act]:
        if self.state is State.KNOWN:
            return [self._send(answer)]
        if self.state is not State.ENDED:
            self._unsaid.append(answer)
        return []

    def _send(self, message: FromSupervisor) -> Send:
        self._said_at = self.clock()
        return Send(message)

    def _prove(self) -> list[Act]:
        self._step(State.PROVING)
        return [Prove()]

    def _wait(self, why: str) -> list[Act]:
        self._step(State.WAITING)
        self._again_at = self.clock() + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        self._is_known = False
        return [Problem(why)]

    def _step(self, state: State) -> None:
        if state not in STEPS[self.state]:
            raise ValueError(f"a conversation cannot go from {self.state.value} to {state.value}")
        self.state = state


def _as_of_now(answer: Answer, nodes: Held) -> Answer:
    """Return an answer that is said again, or late, with the nodes that are held now."""
    return answer.model_copy(update={"nodes": nodes}) if isinstance(answer, Done | Failed) else answer
