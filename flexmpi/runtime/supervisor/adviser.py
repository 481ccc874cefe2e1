"""Has the policies that predict their say: learns from what the job measures, and asks for changes of ranks.

Loaded with the first such policy, for models and optimiser need numpy and the supervisor does not. What is predicted and
decided is pure and elsewhere (``alternatives``, ``objectives``); here it meets the job, its clock and the solver's process.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from flexmpi.cluster.platform import Node, find_nodes
from flexmpi.errors import CommandError
from flexmpi.models.estimate import Refusal
from flexmpi.models.job import JobModel
from flexmpi.models.power import Watts
from flexmpi.models.price import Price
from flexmpi.optimiser import Combination, NodeClass, Search, combine
from flexmpi.protocol.frames import Message
from flexmpi.runtime.job.application import Application
from flexmpi.runtime.job.grant import Grant
from flexmpi.runtime.job.measurements import EnergyReading, IntervalReport
from flexmpi.runtime.job.options import Limits
from flexmpi.runtime.job.policies import JobPolicy
from flexmpi.runtime.job.reconfiguration import Reconfiguration, Stage
from flexmpi.runtime.job.roster import RankId, Roster
from flexmpi.runtime.job.schedule import Planned, parts_of_growth
from flexmpi.runtime.prediction.alternatives import Alternative, Situation, Unknown, alternatives, compared
from flexmpi.runtime.prediction.learning import measured, observed, spent
from flexmpi.runtime.prediction.node_classes import class_names, classes_of
from flexmpi.runtime.prediction.objectives import Decision, decide, grow_where_it_gains
from flexmpi.runtime.prediction.volumes import Volumes
from flexmpi.runtime.reporting.eventlog import EventLog
from flexmpi.runtime.supervisor.reconfigurer import Reconfigurer

PATIENCE = 2
"""Decisions in a row that must want the same direction, so that a single disturbance starts no process."""

COOL_DOWN_S = 30.0
"""How long nothing is asked for after a change that was dropped."""

SEARCH_LIMIT_S = 2.0
LARGEST_SEARCH = 96
"""Numbers of ranks that are looked at; of more possible ones those that grow by about the same factor."""

OF_ENERGY = ("energy", "performance-per-watt")


class Advised(Protocol):
    """What the supervisor offers to its adviser."""

    roster: Roster
    application: Application
    grant: Grant
    limits: Limits
    reconfigurer: Reconfigurer
    log: EventLog
    nodes_on_demand: bool

    def show(self, *lines: str) -> None:
        """Print in the application's output."""

    def spawn(self, coroutine: Coroutine[object, object, None]) -> object:
        """Run something beside the rest."""

    def tell(self, ranks: Collection[RankId], kind: str, **fields: object) -> None:
        """Send a message to ranks."""


class Adviser:
    """Learns, predicts and asks, for one job.

    Parameters
    ----------
    job
        The supervisor.
    watts
        Declared power of a node, idle and for each busy core: by alias, or under the empty name for all others.
    dry_run
        Only say what would be done.
    began
        When the job began, by the clock.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        job: Advised,
        *,
        watts: Mapping[str, tuple[float, float]],
        dry_run: bool = False,
        began: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._job = job
        self._dry_run = dry_run
        self._clock = clock
        self._began = began
        self._watts = watts
        self.model = JobModel()
        self._grouped: Sequence[Node] = ()
        self._group_nodes()
        self._loop: int | None = None
        self._combinations: dict[Search, tuple[list[Combination], str]] = {}
        self._deciding = False
        self._volumes = Volumes()
        self._changes = 0
        self._waiting: IntervalReport | None = None
        self._direction = self._seen = 0
        self._said: tuple[object, ...] = ()
        self._not_before = float("-inf")
        self._due: tuple[JobPolicy, float] | None = None

    def _group_nodes(self) -> None:
        """Group the job's nodes by class, and again when it has come to know more; those of before keep their classes."""
        job = self._job
        if self._grouped is job.roster.nodes:
            return
        self._grouped = job.roster.nodes
        self._classes = classes_of(self._grouped, on_demand=job.nodes_on_demand, maximum_nodes=job.limits.maximum_nodes)
        self._class_of = class_names(self._classes)
        stated = {known.name: self._watts.get(known.nodes[0].alias, self._watts.get("")) for known in self._classes}
        declared = {name: Watts(*known) for name, known in stated.items() if known is not None}
        price = Price({known.name: known.cost for known in self._classes})
        self.model = replace(self.model, price=price, power=replace(self.model.power, declared=declared))

    def interval_ended(self, latest: IntervalReport, policy: JobPolicy) -> None:
        """Learn from an interval, and decide by it."""
        job = self._job
        self._group_nodes()
        if self._loop != job.application.loop:
            self._loop, self.model = job.application.loop, self.model.in_new_loop()
        nodes = self._nodes()
        if len(nodes) != latest.size:
            return
        self.model = self.model.after(observed(latest, nodes, self._class_of))
        self._volumes.begin((self._loop, self._changes, *latest.weights))
        self._consider(policy, latest)

    def imagined(self, message: Message, policy: JobPolicy) -> None:
        """Take in what ranks say of changes that might happen; a decision may have waited for it."""
        if self._volumes.answered(message) and self._waiting is not None:
            self._consider(policy, self._waiting)

    def _consider(self, policy: JobPolicy, latest: IntervalReport) -> None:
        """Begin to decide by an interval, if there is anything to decide."""
        job, self._waiting = self._job, None
        may_change = (
            not job.reconfigurer.busy and self._clock() >= self._not_before and job.application.obstacle is None
        )
        if policy.predicts and may_change and not self._deciding:
            self._deciding = True
            job.spawn(self._advise(policy, latest, self._nodes()))

    def grow(self, planned: Planned, latest: IntervalReport, then: Callable[[Planned | None], None]) -> None:
        """Decide how much of a planned growth happens, and tell it: that part, or None; nothing where it is too early.

        Until it has been told, this is to be called after every interval.
        """
        job, change = self._job, planned.change
        nodes = self._nodes()
        if self._deciding or job.reconfigurer.busy or len(nodes) != latest.size:
            return
        speeds = [job.roster.speed_of(find_nodes(job.roster.nodes, name)[0].name) for name, _ in change.changes]
        try:
            parts = [job.reconfigurer.resolved(part) if part else {} for part in parts_of_growth(change, speeds)]
        except CommandError:
            # It is dropped with the reason when its turn comes.
            then(planned)
            return
        self._deciding = True
        job.spawn(self._advise_growth(planned, latest, self._situation(latest, nodes), parts, then))

    async def _advise_growth(
        self,
        planned: Planned,
        latest: IntervalReport,
        situation: Situation,
        parts: Sequence[Mapping[str, int]],
        then: Callable[[Planned | None], None],
    ) -> None:
        try:
            known = await asyncio.to_thread(compared, situation, parts)
        except (ArithmeticError, ValueError) as error:
            known = Refusal(f"what was measured fits no model ({error})")
        finally:
            self._deciding = False
        if isinstance(known, Unknown):
            self._ask(latest, known)
            return
        if isinstance(known, Refusal):
            if self.model.history.too_few is None:
                self._say(("schedule", known), f"Policy schedule: waits: {known}")
            return
        wanted = ", ".join(f"{ranks:+d} on {name}" for name, ranks in planned.change.changes)
        wanted += f" at iteration {planned.change.at_iteration}, as far as that gains"
        by_changes = {tuple(sorted(each.changes.items())): each for each in known}
        possible = [by_changes[tuple(sorted(part.items()))] for part in parts]
        decision = grow_where_it_gains(possible, known[0], wanted=wanted)
        self._job.show(decision.line + (" (dry run)" if self._dry_run and decision.changes else ""))
        self._job.log.write("decision", **decision.record, policy="schedule", dry_run=self._dry_run)
        rest = replace(planned.change, changes=tuple(decision.changes.items()))
        then(replace(planned, change=rest) if decision.changes and not self._dry_run else None)

    def reconfigured(self, reconfiguration: Reconfiguration) -> None:
        """Learn from a reconfiguration that is over."""
        self._seen = 0
        self._changes += reconfiguration.stage is Stage.DONE
        if reconfiguration.stage is Stage.DONE and not reconfiguration.balance and not reconfiguration.ready:
            self.model = self.model.after_resize(measured(reconfiguration))
        elif reconfiguration.stage is Stage.FAILED and reconfiguration.cause.startswith("policy "):
            self._not_before = self._clock() + COOL_DOWN_S

    def energy_read(self, readings: Sequence[EnergyReading], latest: IntervalReport | None) -> None:
        """Learn from what machines have spent."""
        self._group_nodes()
        nodes = self._nodes()
        if latest is None or len(nodes) != latest.size:
            return
        for reading in readings:
            sample = spent(reading, latest, nodes, self._class_of)
            if sample is not None:
                self.model = self.model.after_energy(sample)

    def _nodes(self) -> list[str]:
        return [self._job.roster.node_of(rank) for rank in self._job.roster.members]

    async def _advise(self, policy: JobPolicy, latest: IntervalReport, nodes: Sequence[str]) -> None:
        try:
            # Beside the event loop: the solver is waited for, and many alternatives take their time.
            decision = await asyncio.to_thread(self._decide, policy, self._situation(latest, nodes))
        except (ArithmeticError, ValueError) as error:
            # A job does not end because its figures fit no model.
            decision = Refusal(f"what was measured fits no model ({error})")
        finally:
            self._deciding = False
        if isinstance(decision, Unknown):
            if not self._ask(latest, decision):
                self._consider(policy, latest)
            return
        if self.model.history.too_few is not None:
            return
        if isinstance(decision, Refusal):
            self._say((policy.name, decision), f"Policy {policy.name}: waits: {decision}")
            return
        record = {**decision.record, "policy": policy.name, "dry_run": self._dry_run}
        chosen = decision.record["chosen"]["changes"]
        note = " (dry run)" if self._dry_run and decision.changes else ""
        said = (policy.name, tuple(nodes), tuple(sorted(chosen.items())), bool(decision.changes))
        if self._say(said, decision.line + note):
            self._job.log.write("decision", **record)
        self._act(policy, decision)

    def _ask(self, latest: IntervalReport, unknown: Unknown) -> bool:
        """Ask the ranks what changes would move; a decision waits for their answer. False if they have answered meanwhile."""
        if all(each in self._volumes.known for each in unknown.transitions):
            return False
        question = self._volumes.question(unknown.transitions, weights=latest.weights)
        if question is not None:
            self._job.tell(self._job.roster.members[:1], "imagine", **question)
        self._waiting = latest
        return True

    def _say(self, what: tuple[object, ...], line: str) -> bool:
        """Print a line, unless it says again what the last one did."""
        if what == self._said:
            return False
        self._said = what
        self._job.show(line)
        return True

    def _act(self, policy: JobPolicy, decision: Decision) -> None:
        """Ask for what was decided, once it has been decided for long enough."""
        direction = (sum(decision.changes.values()) > 0) - (sum(decision.changes.values()) < 0)
        wants = bool(decision.changes)
        self._seen = self._seen + 1 if wants and direction == self._direction else int(wants)
        self._direction = direction
        if self._dry_run or self._seen < PATIENCE or self._job.reconfigurer.busy:
            return
        self._seen = 0
        try:
            self._job.reconfigurer.request(list(decision.changes.items()), cause=f"policy {policy.name}")
        except CommandError as error:
            self._not_before = self._clock() + COOL_DOWN_S
            self._job.show(f"Policy {policy.name}: not possible: {error}")

    def _situation(self, latest: IntervalReport, nodes: Sequence[str]) -> Situation:
        application, roster = self._job.application, self._job.roster
        usable = self._job.grant.usable(roster.nodes)
        return Situation(
            model=self.model,
            classes=tuple(filter(None, (known.among(usable) for known in self._classes))),
            on_demand=self._job.nodes_on_demand,
            members=tuple(nodes),
            weights=tuple(latest.weights),
            started=tuple(sorted(roster.members).index(rank) for rank in roster.members),
            speeds={node.name: roster.speed_of(node.name) for node in roster.nodes},
            moved_bytes=dict(self._volumes.known),
            remaining=max(0, (application.maximum or 0) - latest.iteration),
            elapsed_s=self._clock() - self._began,
        )

    def _decide(self, policy: JobPolicy, situation: Situation) -> Decision | Unknown | Refusal:
        """Decide; runs in a thread of its own and touches nothing of the job."""
        classes = self._node_classes(policy, situation)
        if isinstance(classes, Refusal):
            return classes
        limits, present = self._job.limits, len(situation.occupied)
        largest = min(limits.maximum_nodes, present + 1) if situation.on_demand else limits.maximum_nodes
        most = sum(known.nodes * known.cores for known in classes)
        search = Search(classes, limits.minimum_nodes, largest, _grid(most, len(situation.members)))
        if search not in self._combinations:
            self._combinations = {search: combine(search, limit_s=SEARCH_LIMIT_S)}
        combinations, remark = self._combinations[search]
        if not combinations:
            return Refusal(f"no ranks to choose from: {remark or 'the limits on nodes leave none'}")
        known = alternatives(situation, [each.ranks for each in combinations])
        if isinstance(known, Refusal | Unknown):
            return known
        return decide(
            policy.name,
            known,
            objective=self._due_s(policy, known[0], situation) if policy.sooner else policy.objective,
            threshold=policy.threshold,
            elapsed_s=situation.elapsed_s,
        )

    def _due_s(self, policy: JobPolicy, present: Alternative, situation: Situation) -> float:
        """Return when, from its start, a job is to finish that is to do so sooner than it would have when it was told so."""
        if self._due is None or self._due[0] is not policy:
            self._due = policy, situation.elapsed_s + (1 - policy.objective) * present.finish_s.value
        return self._due[1]

    def _node_classes(self, policy: JobPolicy, situation: Situation) -> tuple[NodeClass, ...] | Refusal:
        """Return the classes of nodes with what they cost by this policy, to two digits: so the search seldom changes."""
        found = []
        for known in situation.classes:
            rates = self._rates(policy, known.name, known.cost, situation.model)
            if isinstance(rates, Refusal):
                return rates
            speed = situation.model.speed_of(known.name, situation.speed_of(known.nodes[0].name))
            # Where nodes come on demand the first one is the batch node, with which the job would end.
            required = int(situation.on_demand and self._job.roster.nodes[0] in known.nodes)
            of_rank, of_node = map(_rounded, rates)
            found.append(NodeClass(known.available, known.cores, _rounded(speed), of_rank, of_node, required))
        return tuple(found)

    @staticmethod
    def _rates(policy: JobPolicy, name: str, cost: float, model: JobModel) -> tuple[float, float] | Refusal:
        """Return what a rank and a node of a class cost a second: money, or for the policies of energy joules."""
        if policy.name not in OF_ENERGY:
            return cost, 0.0
        idle, busy = (model.power.node(name, busy_cores=cores) for cores in (0.0, 1.0))
        if isinstance(idle, Refusal):
            return idle
        if isinstance(busy, Refusal):
            return busy
        return max(0.0, busy.value - idle.value), max(0.0, idle.value)


def _rounded(value: float) -> float:
    return float(f"{value:.2g}")


def _grid(most: int, present: int) -> tuple[int, ...]:
    """Return the numbers of ranks to look at: all, or where they are too many some that grow by a factor, and the present one."""
    if most <= LARGEST_SEARCH:
        return tuple(range(1, most + 1))
    grown = {round(most ** (step / (LARGEST_SEARCH - 1))) for step in range(LARGEST_SEARCH)}
    return tuple(sorted(grown | {present}))
