"""Watts of nodes as jobs measure them: whose readings count, and what nodes of a power class draw by them. Pure.

Jobs read meters of processors and memory, and their owners could tell anything. So a reading counts only of a node that the
job has to itself by the resource manager's word, and for nodes of a class that watts are declared for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from flexmpi.cluster.state import Node, NodeState, Snapshot
from flexmpi.models import power as models
from flexmpi.models.estimate import Estimate
from flexmpi.protocol.messages import NodeEnergy
from flexmpi.scheduler.deciding.power import BUSY, Watts
from flexmpi.scheduler.jobs.ledger import Member

MOST_BUSY = 1.1
"""Of a node's cores at most, by clocks that are not read at the same moment."""
LEAST_BUSY_CORES = 0.1
"""Readings of nodes that hardly compute say nothing of what a job makes them draw."""
ALIKE = 0.05
"""Watts that differ by less than that, relative, stay as they are: sizes must not follow every reading."""


@dataclass(frozen=True)
class Metering:
    """Learns what nodes of each power class draw.

    Attributes
    ----------
    class_of
        The class of each node that is in one.
    declared
        By class.
    measured
        By class, where there are readings enough.
    model
        Fitted to the latest readings of each class.
    """

    class_of: Mapping[str, str]
    declared: Mapping[str, Watts]
    measured: Mapping[str, Watts] = field(default_factory=dict)
    model: models.Power = field(default_factory=models.Power)

    @property
    def watts(self) -> dict[str, Watts]:
        """The watts of each node that is in a class: as measured where they are, else as declared."""
        return {node: self.measured.get(name, self.declared[name]) for node, name in self.class_of.items()}

    def after(self, readings: Iterable[NodeEnergy]) -> Metering:
        """Return the same with more readings; those of nodes in no class are of no use."""
        model, seen = self.model, set()
        for reading in readings:
            if (name := self.class_of.get(reading.node)) is not None:
                seen.add(name)
                model = model.after(
                    models.EnergySample(name, reading.seconds, reading.joules, processor_s=reading.processor_s)
                )
        known = {name: watts for name in seen if (watts := _fitted(model, name, self.declared[name])) is not None}
        changed = {name: watts for name, watts in known.items() if not _alike(watts, self.measured.get(name))}
        return replace(self, model=model, measured={**self.measured, **changed})


def credible(members: Iterable[Member], snapshot: Snapshot) -> Iterator[NodeEnergy]:
    """Yield the readings of jobs that count, each once: of nodes that are wholly the job's and its companions'.

    Where jobs are hidden nobody can say which nodes are.
    """
    told = [(member, energy) for member in members if (energy := member.take_energy())]
    if not told or "jobs" in snapshot.hidden:
        return
    holders: dict[str, set[int]] = defaultdict(set)
    for job in snapshot.jobs:
        if not job.is_waiting and not job.is_ended:
            for name in job.nodes:
                holders[name].add(job.job_id)
    for member, energy in told:
        own = {member.job.job_id, *(companion.job_id for companion in member.companions)}
        for reading in energy:
            node = snapshot.node_of.get(reading.node)
            if node is not None and holders[reading.node] and holders[reading.node] <= own and _is_of(reading, node):
                yield reading


def _is_of(reading: NodeEnergy, node: Node) -> bool:
    """Whether a node is allocated as a whole and has cores for what is said to have run there."""
    is_whole = node.states & BUSY == {NodeState.ALLOCATED}
    return is_whole and reading.processor_s <= MOST_BUSY * node.cores * reading.seconds


def _fitted(model: models.Power, name: str, declared: Watts) -> Watts | None:
    """Return what nodes of a class draw idle, and more with as many cores busy as were at most; None if not known."""
    samples = model.samples[name]
    busiest = max(sample.processor_s / sample.seconds for sample in samples)
    if busiest < LEAST_BUSY_CORES:
        return None
    if min(declared.idle_w, declared.dynamic_w) > 0:
        # As declared in what no reading tells, such as how a total that never varied divides.
        model = replace(model, declared={name: models.Watts(declared.idle_w, declared.dynamic_w / busiest)})
    idle, busy = (model.node(name, busy_cores=cores) for cores in (0.0, busiest))
    if not (isinstance(idle, Estimate) and isinstance(busy, Estimate)) or "declared" in (idle.source, busy.source):
        return None
    return Watts(idle.value, busy.value - idle.value, "measured") if busy.value > 0 else None


def _alike(watts: Watts, known: Watts | None) -> bool:
    """Whether watts are those that were known, nearly: idle, and in all."""
    if known is None:
        return False
    total_w = known.idle_w + known.dynamic_w
    differences = (watts.idle_w - known.idle_w, watts.idle_w + watts.dynamic_w - total_w)
    return max(map(abs, differences)) <= ALIKE * total_w
