"""What a supervisor has its nodes measure: which hardware events they can count, and the energy they spend.

Each answer comes from node launchers. Nodes that are really one machine, as virtual nodes are, are asked or counted once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Protocol

from flexmpi.errors import CommandError
from flexmpi.protocol.frames import Message
from flexmpi.runtime.job.measurements import EnergyReading
from flexmpi.runtime.job.roster import RankId, Roster
from flexmpi.runtime.machine.counters import Probe
from flexmpi.runtime.reporting.eventlog import EventLog
from flexmpi.runtime.supervisor.process_sets import ProcessSets

PROBE_LIMIT_S = 4.0
"""How long nodes may take to say what they count; the sender of the command waits a little longer."""
ENERGY_LIMIT_S = 2.0
"""How long a node may take to say what it has spent; it is missing in this period then."""
SHORTEST_PERIOD_S = 0.1
"""RAPL's meters move about once in a millisecond, and who reads them costs something too."""
NAMED_NODES = 3


class Metered(Protocol):
    """What the supervisor offers to meters."""

    roster: Roster
    process_sets: ProcessSets
    log: EventLog

    def tell(self, ranks: Collection[RankId], kind: str, **fields: object) -> None:
        """Send a message to ranks."""

    def warn(self, what: str) -> None:
        """Print a warning."""

    async def until(self, condition: Callable[[], bool], *, limit_s: float | None = None) -> bool:
        """Wait until something has happened; False if it has not within the limit."""


@dataclass
class _Inquiry:
    """A question to several nodes, and what they have answered."""

    number: int
    began: float
    asked: tuple[str, ...]
    iteration: int | None = None
    answers: dict[str, Message] = field(default_factory=dict)


class Meters:
    """The measuring instruments of one job.

    Parameters
    ----------
    job
        The supervisor.
    events
        The hardware events that ranks count from their start on.
    on_energy
        Called when all machines have said what they have spent.
    clock
        Seconds that only grow.

    Attributes
    ----------
    events
        Those that ranks count now.
    energy
        What each machine has spent in the latest period; nothing where no machine has a meter.
    """

    def __init__(
        self,
        job: Metered,
        *,
        events: Iterable[str] = (),
        on_energy: Callable[[Sequence[EnergyReading]], None] = lambda readings: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.events = tuple(dict.fromkeys(events))
        self.energy: tuple[EnergyReading, ...] = ()
        self._job = job
        self._on_energy = on_energy
        self._clock = clock
        self._numbers = 0
        self._machines: dict[str, str] = {}
        self._metered: set[str] = set()
        self._probing: _Inquiry | None = None
        self._reading: _Inquiry | None = None
        self._read_at = float("-inf")
        self._said: set[tuple[str, str]] = set()

    def arrived(self, node: str, hello: Message) -> None:
        """Take note of what a new node launcher says about its machine."""
        self._machines[node] = hello.get("machine") or node
        meters = hello.get("energy") or {"sources": [], "missing": {}}
        self._metered.discard(node)
        if meters["sources"]:
            self._metered.add(node)
        self._job.log.write("energy_sources", node=node, sources=meters["sources"], missing=meters["missing"])

    def heard(self, node: str, message: Message) -> None:
        """Take in a node's answer; one to a question that is no longer open is too late."""
        for inquiry in (self._probing, self._reading):
            if inquiry is not None and inquiry.number == message["request"]:
                inquiry.answers[node] = message
        if (reading := self._reading) is not None and len(reading.answers) == len(reading.asked):
            self._finish_reading(reading)

    def _ask(self, nodes: Iterable[str], kind: str, **fields: object) -> _Inquiry:
        self._numbers += 1
        present = set(self._job.process_sets.nodes)
        asked = tuple(node for node in nodes if node in present)
        for node in asked:
            self._job.process_sets.tell_launcher(node, kind, request=self._numbers, **fields)
        return _Inquiry(self._numbers, self._clock(), asked)

    # Hardware events.

    async def follow(self, events: Sequence[str], *, wanted: Collection[str]) -> str:
        """Have all ranks count these events from their next agreement point on, as far as their machines can.

        One that no machine counts is followed too: it is shown as missing, and counted on a machine that comes later and can.

        Parameters
        ----------
        events
            All that are to be counted.
        wanted
            Those that were asked for just now.

        Returns
        -------
        str
            Which of them cannot be counted, and why; empty if all can.

        Raises
        ------
        CommandError
            None of those wanted can be counted; nothing has changed then.
        """
        events = tuple(dict.fromkeys(events))
        probes = await self._probe(events)
        counted = tuple(event for event in events if any(event not in probe.refused for probe in probes.values()))
        why = refusals(probes)
        if not set(wanted) & set(counted):
            raise CommandError(f"the counters stay as they are: {why}")
        self._said |= {known for probe in probes.values() for known in probe.refused.items()}
        self.events = events
        self.tell()
        return why

    def environment(self) -> dict[str, str]:
        """Return what ranks that start are told of what to count."""
        return {"FLEXMPI_COUNTERS": " ".join(self.events)} if self.events else {}

    def tell(self) -> None:
        """Have rank 0 know what to count; it may be another rank since, to which it has not been told."""
        if self.events:
            self._job.tell(self._job.roster.members[:1], "counters", events=self.events)

    async def _probe(self, events: Sequence[str]) -> dict[str, Probe]:
        """Ask one node of each machine that has ranks."""
        by_machine = {
            self._machines.get(node, node): node for node in sorted(self._job.roster.occupied(), reverse=True)
        }
        self._probing = inquiry = self._ask(sorted(by_machine.values()), "probe", events=events)
        await self._job.until(
            lambda: inquiry.answers.keys() >= set(inquiry.asked) & set(self._job.process_sets.nodes),
            limit_s=PROBE_LIMIT_S,
        )
        self._probing = None
        silent = dict.fromkeys(events, f"no answer within {PROBE_LIMIT_S:g} s")
        return {
            node: Probe(answer["refused"], tuple(answer["countable"])) if answer is not None else Probe(silent)
            for node, answer in ((node, inquiry.answers.get(node)) for node in inquiry.asked)
        }

    def uncounted(self, rank: str, refused: Mapping[str, str]) -> None:
        """A rank cannot count some events that it was to count; what is not known yet is said once."""
        self._job.log.write("uncounted", rank=rank, refused=refused)
        for event, why in refused.items():
            if (event, why) not in self._said:
                self._said.add((event, why))
                self._job.warn(f"{event} is not counted and shown as n/a: {why} ({rank})")

    # Energy.

    def begin_loop(self) -> None:
        """Have the first period begin now, not with the start of the launchers."""
        self._read_energy(None)

    def interval_ended(self, iteration: int) -> None:
        """Ask all machines what they have spent, unless it is too soon or they have not answered the last time."""
        now = self._clock()
        if self._reading is not None:
            if now - self._reading.began < ENERGY_LIMIT_S:
                return
            self._finish_reading(self._reading)
        if now - self._read_at >= SHORTEST_PERIOD_S:
            self._read_energy(iteration)

    def _read_energy(self, iteration: int | None) -> None:
        self._read_at = self._clock()
        inquiry = self._ask(sorted(self._metered), "energy")
        self._reading = inquiry if inquiry.asked else None
        inquiry.iteration = iteration
        if not inquiry.asked:
            self.energy = ()

    def _finish_reading(self, inquiry: _Inquiry) -> None:
        self._reading = None
        if inquiry.iteration is None:
            return
        self.energy = tuple(self._readings(inquiry.answers))
        machines = [{**asdict(reading), "total_j": reading.total_j} for reading in self.energy]
        self._job.log.write("energy", iteration=inquiry.iteration, machines=machines)
        for reading in self.energy:
            self._say_what_is_missing(reading)
        self._on_energy(self.energy)

    def _readings(self, answers: Mapping[str, Message]) -> list[EnergyReading]:
        """Return a reading for each machine of the job, one without figures where there are none."""
        nodes_of: dict[str, list[str]] = {}
        for node in self._job.process_sets.nodes:
            nodes_of.setdefault(self._machines.get(node, node), []).append(node)
        readings = []
        for nodes in nodes_of.values():
            known = [answers[node] for node in nodes if node in answers]
            answer = known[0] if known else {"seconds": None, "joules": {}}
            missing = answer.get("missing", {})
            readings.append(EnergyReading(tuple(nodes), answer["seconds"], answer["joules"], missing))
        return readings

    def _say_what_is_missing(self, reading: EnergyReading) -> None:
        """Warn of meters without figures, each once for the same reason."""
        machine = self._machines.get(reading.nodes[0], reading.nodes[0])
        for source, why in reading.missing.items():
            if (f"{source} of {machine}", why) not in self._said:
                self._said.add((f"{source} of {machine}", why))
                self._job.warn(f"{source} of {','.join(reading.nodes)} is shown as n/a: {why}")


def refusals(probes: Mapping[str, Probe]) -> str:
    """Return which events cannot be counted on which nodes, why, and what can be; in one line, empty if all can be."""
    events: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for event in dict.fromkeys(event for probe in probes.values() for event in probe.refused):
        nodes_by_reason: dict[str, list[str]] = {}
        for node, probe in probes.items():
            if event in probe.refused:
                nodes_by_reason.setdefault(probe.refused[event], []).append(node)
        for why, nodes in nodes_by_reason.items():
            events.setdefault((why, tuple(nodes)), []).append(event)
    parts = [f"{' and '.join(named)} on {_named(nodes, probes)}: {why}" for (why, nodes), named in events.items()]
    countable = [set(probe.countable) for probe in probes.values() if probe.refused]
    if everywhere := sorted(set.intersection(*countable)) if countable else []:
        parts.append(f"what can be counted there: {', '.join(everywhere)}")
    return "; ".join(parts)


def _named(nodes: Sequence[str], of: Collection[str]) -> str:
    return " and ".join(nodes) if len(nodes) <= NAMED_NODES else f"{len(nodes)} of {len(of)} machines"
