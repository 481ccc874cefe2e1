"""An order: one command of the agent to one job, from its decision to its outcome. Plain data and a table of steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from flexmpi.protocol.messages import Balance, Cost, Resize, Stop, Withdraw

AnyCommand = Resize | Balance | Stop


class Stage(Enum):
    """Where an order is in its life."""

    DECIDED = "decided"
    """Recorded, and sent until the job answers."""
    TAKEN = "taken"
    """The job has acknowledged it and carries it out."""
    DONE = "done"
    FAILED = "failed"


STEPS: Mapping[Stage, frozenset[Stage]] = {
    Stage.DECIDED: frozenset({Stage.TAKEN, Stage.DONE, Stage.FAILED}),
    Stage.TAKEN: frozenset({Stage.TAKEN, Stage.DONE, Stage.FAILED}),
    Stage.DONE: frozenset(),
    Stage.FAILED: frozenset(),
}


@dataclass
class Order:
    """One order.

    Attributes
    ----------
    key
        The job's.
    command
        As it is sent; its id is the order's.
    what
        What is to be done, for a person to read.
    decided_at
        Seconds of the epoch.
    by_hand
        A person wants it, not the policy.
    inherited
        An earlier agent gave it, and what became of it is not known yet.
    sent_at
        When it was sent last, or its withdrawal.
    withdrawn
        Why it is taken back, if it is; the job says what comes of that.
    """

    key: str
    job_id: int | None
    command: AnyCommand
    what: str
    decided_at: float
    by_hand: bool = False
    uid: int | None = None
    inherited: bool = False
    stage: Stage = Stage.DECIDED
    sent_at: float | None = None
    withdrawn: str | None = None
    ended_at: float | None = None
    why: str | None = None
    cost: Cost | None = None

    @property
    def id(self) -> str:
        """The command's id."""
        return self.command.id

    @property
    def joining(self) -> tuple[str, ...]:
        """The nodes it promises to the job."""
        return self.command.add if isinstance(self.command, Resize) else ()

    @property
    def leaving(self) -> tuple[str, ...]:
        """The nodes it takes from the job."""
        return self.command.leave if isinstance(self.command, Resize) else ()

    @property
    def only_gives(self) -> bool:
        """Whether it gives nodes and takes none."""
        return bool(self.joining) and not self.leaving

    @property
    def message(self) -> AnyCommand | Withdraw:
        """What the job is told of it."""
        return self.command if self.withdrawn is None else Withdraw(id=self.id, why=self.withdrawn)

    @property
    def is_over(self) -> bool:
        """Whether it has an outcome."""
        return not STEPS[self.stage]

    def step(self, stage: Stage) -> None:
        """Go on to another stage; ValueError for a step that is not in the table."""
        if stage not in STEPS[self.stage]:
            raise ValueError(f"order {self.id} cannot go from {self.stage.value} to {stage.value}")
        self.stage = stage
