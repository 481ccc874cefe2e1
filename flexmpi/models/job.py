"""All models of one job together: what an iteration takes in a layout that the job has never had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from flexmpi.models.communication import Communication
from flexmpi.models.computation import Computation
from flexmpi.models.estimate import Estimate, Refusal
from flexmpi.models.layout import Layout
from flexmpi.models.observation import History, Observation
from flexmpi.models.power import EnergySample, Power
from flexmpi.models.price import Price
from flexmpi.models.reconfiguration import MeasuredResize, ReconfigurationCost


@dataclass(frozen=True)
class IterationTime:
    """What an iteration takes in some layout, in seconds.

    Attributes
    ----------
    communication_s
        Declared where no two ranks of the job have communicated yet; `caveat` says so.
    io_s
        As measured in the present layout: I/O is not assumed to depend on ranks.
    """

    computation_s: Estimate
    communication_s: Estimate
    io_s: float

    @property
    def total_s(self) -> Estimate:
        """All of it."""
        known = self.computation_s + self.communication_s
        return replace(known, value=known.value + self.io_s)

    @property
    def learnt_error(self) -> float:
        """The relative standard error of all that was learnt; what is declared can be learnt by going there alone."""
        declared = self.communication_s.source == "declared"
        return (self.computation_s if declared else self.total_s).error / max(self.total_s.value, 1e-300)

    @property
    def caveat(self) -> str:
        """What the prediction lacks, in words; empty if nothing."""
        declared = self.communication_s.source == "declared"
        return "communication declared: no call between two ranks has been timed yet" if declared else ""


@dataclass(frozen=True)
class JobModel:
    """What one job has shown of itself, and what follows from it. Immutable: `after` and its like return the next one."""

    history: History = field(default_factory=History)
    reconfiguration: ReconfigurationCost = field(default_factory=ReconfigurationCost)
    price: Price = field(default_factory=lambda: Price({}))
    power: Power = field(default_factory=Power)

    def after(self, latest: Observation) -> JobModel:
        """Return the model after one more sampling interval."""
        return replace(self, history=self.history.after(latest))

    def after_resize(self, measured: MeasuredResize) -> JobModel:
        """Return the model after one more reconfiguration."""
        return replace(self, reconfiguration=self.reconfiguration.after(measured))

    def after_energy(self, sample: EnergySample) -> JobModel:
        """Return the model after one more energy sample of a node."""
        return replace(self, power=self.power.after(sample))

    def in_new_loop(self) -> JobModel:
        """Return the model of the program's next loop, whose iterations are others: what concerns them is forgotten."""
        return replace(self, history=History())

    @cached_property
    def _computation(self) -> Computation | Refusal:
        return Computation.fitted(self.history)

    @cached_property
    def _communication(self) -> Communication | Refusal:
        return Communication.fitted(self.history)

    def iteration(self, layout: Layout) -> IterationTime | Refusal:
        """Predict an iteration; refused before the present layout has been measured for long enough."""
        computation, communication, latest = self._computation, self._communication, self.history.latest
        if isinstance(computation, Refusal):
            return computation
        if isinstance(communication, Refusal) or latest is None:
            return communication if isinstance(communication, Refusal) else Refusal("no sampling interval measured")
        io_s, _ = self.history.typical(latest.layout, lambda each: each.io_s)
        return IterationTime(computation.predict(layout), communication.predict(layout), io_s)

    def power_w(self, layout: Layout) -> Estimate | Refusal:
        """Predict the watts of all nodes of a layout."""
        latest = self.history.latest
        if latest is None:
            return Refusal("no sampling interval measured")
        share, _ = self.history.typical(latest.layout, lambda each: each.processor_share)
        return self.power.predict(layout, processor_share=share)

    def speed_of(self, node_class: str, weight: float) -> float:
        """Return the speed of a rank on a class of nodes: learnt, or by its weight and how the known ones compare with theirs."""
        if isinstance(self._computation, Refusal):
            return weight
        return self._computation.speed_of(node_class, weight)

    @property
    def speeds(self) -> Mapping[str, float]:
        """The learnt speed of a rank on each class of nodes the job has used, in the units of the weights."""
        return {} if isinstance(self._computation, Refusal) else self._computation.speeds
