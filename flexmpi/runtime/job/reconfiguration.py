"""One reconfiguration as the supervisor sees it: what is wanted, the stage it is in, and what it cost.

Pure. The stages are a table; a step that is not in it raises.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from flexmpi.runtime.job.roster import RankId


class Stage(Enum):
    """Where a reconfiguration is in its life."""

    QUEUED = "queued"
    STARTING = "starting"
    ASSEMBLING = "assembling"
    OFFERED = "offered"
    AGREED = "agreed"
    DONE = "done"
    FAILED = "failed"


STEPS: Mapping[Stage, frozenset[Stage]] = {
    Stage.QUEUED: frozenset({Stage.STARTING, Stage.OFFERED, Stage.FAILED}),
    Stage.STARTING: frozenset({Stage.ASSEMBLING, Stage.OFFERED, Stage.DONE, Stage.FAILED}),
    Stage.ASSEMBLING: frozenset({Stage.OFFERED, Stage.FAILED}),
    Stage.OFFERED: frozenset({Stage.AGREED, Stage.FAILED}),
    Stage.AGREED: frozenset({Stage.DONE, Stage.FAILED}),
    Stage.DONE: frozenset(),
    Stage.FAILED: frozenset(),
}
"""
The life of a reconfiguration: queued until it is its turn; starting until the newcomers are ready (skipped when nobody
joins); assembling while several process sets of newcomers join each other; offered until the application reaches an
agreement point; agreed while all ranks carry it out. Where ranks are only to be ready, it is done when they are.
"""


BETWEEN_STEPS = ("linked", "ahead")
"""The phases in which newcomers are connected and rows move, while the application computes without them."""


@dataclass
class Reconfiguration:
    """One expansion, shrink, migration or balancing of the load.

    Attributes
    ----------
    number
        Its id, from 1.
    cause
        Who wants it, for a person to read.
    changes
        Net change of ranks for each node name; empty where only the load is balanced.
    balance
        Share the rows anew by what the ranks have measured.
    ready
        The ranks that are to wait on each node, ready to join; nothing else changes then.
    at_iteration
        The earliest iteration at which it may be carried out.
    forced
        A node goes away, whatever bounds the job has.
    given, vacated
        The nodes that the agent gives with it, and those that are to have no rank afterwards.
    units
        The newcomers, as separately started worlds in the order in which they will be ranks among each other.
    succeeding
        The ranks of a successor that there were not as many of before; None where ranks join.
    places
        The newcomers' places among the ranks of the transition.
    started
        The ranks that are started for it on each node; those that were parked are not among them.
    assembled, prepared
        The newcomers that have joined each other, and those that have memory for their rows.
    leaving, parking
        Rank numbers that leave, and those of them that stay asleep for later.
    lost
        The newcomers that ended before they joined, and how: a sentence that names the rank.
    phases
        How far each rank that takes part has come, by its own report.
    left
        The node of each rank number that left, once it has.
    withdrawn
        Why it is not wanted any more, if so.
    figures
        What rank 0 reported when all was done: seconds of each phase, bytes moved, the iteration.
    """

    number: int
    cause: str
    changes: Mapping[str, int]
    balance: bool = False
    ready: Mapping[str, int] = field(default_factory=dict)
    at_iteration: int = 0
    forced: bool = False
    given: tuple[str, ...] = ()
    vacated: tuple[str, ...] = ()
    stage: Stage = Stage.QUEUED
    units: list[list[RankId]] = field(default_factory=list)
    succeeding: list[RankId] | None = None
    places: tuple[int, ...] = ()
    leaving: tuple[int, ...] = ()
    parking: tuple[int, ...] = ()
    started: dict[str, int] = field(default_factory=dict)
    assembled: set[RankId] = field(default_factory=set)
    prepared: set[RankId] = field(default_factory=set)
    phases: dict[RankId, str] = field(default_factory=dict)
    lost: dict[RankId, str] = field(default_factory=dict)
    deferred: bool = False
    progress_at: float = 0.0
    ranks_before: int = 0
    ranks_after: int = 0
    nodes_before: int = 0
    nodes_after: int = 0
    left: dict[int, str] = field(default_factory=dict)
    start_s: float | None = None
    figures: dict[str, Any] = field(default_factory=dict)
    why: str | None = None
    withdrawn: str | None = None

    @property
    def newcomers(self) -> list[RankId]:
        """The ranks that join, in the order they will have."""
        return [rank for unit in self.units for rank in unit]

    @property
    def added(self) -> list[RankId]:
        """The ranks that there were not before, or not as many of on their nodes."""
        return self.newcomers if self.succeeding is None else self.succeeding

    @property
    def at_once(self) -> bool:
        """Whether constant rows are not to move ahead: ranks change at a certain iteration, or a node goes away."""
        return bool(self.at_iteration) or self.forced

    @property
    def loss(self) -> str:
        """How the first newcomer was lost, if any was."""
        return next(iter(self.lost.values()), "")

    def computes_on(self, members: Iterable[RankId]) -> bool:
        """Whether the application's ranks compute on between the two steps of a change whose constant rows move ahead."""
        return all(self.phases.get(rank) in BETWEEN_STEPS for rank in members)

    def parted(self, rank: RankId) -> None:
        """Note that a rank is asleep or ends, after which it reports no more; between the two steps it is let go as it was."""
        if self.stage is Stage.AGREED and self.phases.get(rank) not in (None, *BETWEEN_STEPS):
            self.phases[rank] = "parted"

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return not STEPS[self.stage]

    def vacate(self, occupied: Mapping[str, int]) -> None:
        """Have all ranks leave the nodes that are to have none, as many as they have now."""
        leaving = {node: -occupied[node] for node in self.vacated if occupied.get(node)}
        self.changes = {node: n for node, n in self.changes.items() if node not in self.vacated} | leaving

    def step(self, stage: Stage) -> None:
        """Go on to a stage.

        Raises
        ------
        ValueError
            The life of a reconfiguration has no such step.
        """
        if stage not in STEPS[self.stage]:
            raise ValueError(f"reconfiguration {self.number} cannot go from {self.stage.value} to {stage.value}")
        self.stage = stage

    def fail(self, why: str) -> None:
        """End it without a change, unless it is over already."""
        if not self.over:
            self.step(Stage.FAILED)
            self.why = why

    def withdraw(self, why: str) -> bool:
        """Note that it is not wanted any more, and return whether it is given up: what the application was asked for goes on."""
        if self.stage in (Stage.QUEUED, Stage.STARTING, Stage.ASSEMBLING):
            self.withdrawn = why
        return self.withdrawn is not None

    def summary(self) -> str:
        """Say in a few words what it does, for the reply to whoever asked."""
        if self.ready:
            return ", ".join(_readiness(count, node) for node, count in self.ready.items())
        parts = [
            f"{'start' if change > 0 else 'retire'} {abs(change)} rank{'s' if abs(change) > 1 else ''} on {node}"
            for node, change in self.changes.items()
        ]
        when = f" at iteration {self.at_iteration}" if self.at_iteration else ""
        return (", ".join(parts) or "balance the load") + when

    def record(self) -> dict[str, Any]:
        """Return all that is known of it in JSON values."""
        return {
            "id": self.number,
            "cause": self.cause,
            "outcome": self.stage.value,
            "why": self.why,
            "changes": dict(self.changes),
            **({"ready": dict(self.ready)} if self.ready else {}),
            "ranks_before": self.ranks_before,
            "ranks_after": self.ranks_after,
            "nodes_before": self.nodes_before,
            "nodes_after": self.nodes_after,
            "start_s": self.start_s,
            **self.figures,
        }


def _readiness(count: int, node: str) -> str:
    return f"have {count} rank{'s' if count > 1 else ''} ready on {node}" if count else f"have no rank ready on {node}"
