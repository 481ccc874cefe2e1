"""Watts of a job's nodes: ``P = P_idle + P_core c`` for each node, with ``c`` the cores' worth of processor time it spends.

Idle and dynamic power, linear in utilisation, as in Fan, Weber, Barroso (ISCA 2007). Fitted to energy samples where a node can
measure its energy; else what a person declared, and labelled so. Never derived from time alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from flexmpi.models.estimate import LEAST_NOISE, Estimate, Fit, Refusal, fit
from flexmpi.models.layout import Layout

MINIMUM_SAMPLES = 3
KEPT = 32
DECLARED_ERROR = 0.25
"""A declared figure is taken to be right to this, relative."""

_PRIOR_RANGE = 2.0


@dataclass(frozen=True)
class EnergySample:
    """The energy of one node over a while.

    Attributes
    ----------
    seconds, energy_j
        How long, and how much.
    processor_s
        Processor seconds that the job's ranks spent there meanwhile.
    """

    node_class: str
    seconds: float
    energy_j: float
    processor_s: float


@dataclass(frozen=True)
class Watts:
    """Declared power of a node: when idle, and for each busy core on top of that."""

    idle_w: float
    core_w: float


@dataclass(frozen=True)
class Power:
    """Learns the power of each class of nodes.

    Attributes
    ----------
    declared
        By class of nodes.
    samples
        The latest energy samples of each class.
    """

    declared: Mapping[str, Watts] = field(default_factory=dict)
    samples: Mapping[str, tuple[EnergySample, ...]] = field(default_factory=dict)

    def after(self, sample: EnergySample) -> Power:
        """Return the model with one more sample."""
        known = (*self.samples.get(sample.node_class, ()), sample)[-KEPT:]
        return replace(self, samples={**self.samples, sample.node_class: known})

    def node(self, node_class: str, *, busy_cores: float) -> Estimate | Refusal:
        """Return the watts of one node that keeps so many of its cores busy."""
        samples = self.samples.get(node_class, ())
        declared = self.declared.get(node_class)
        if len(samples) >= MINIMUM_SAMPLES:
            return _fitted(samples, declared).at([1.0, busy_cores])
        if declared is not None:
            watts = declared.idle_w + declared.core_w * busy_cores
            return Estimate(watts, DECLARED_ERROR * watts, "declared")
        return Refusal(
            f"{len(samples)} of {MINIMUM_SAMPLES} energy samples of a node of class {node_class}, and no watts declared for it"
        )

    def predict(self, layout: Layout, *, processor_share: float) -> Estimate | Refusal:
        """Return the watts of all nodes of a layout; refused if one class has neither samples nor declared watts.

        Parameters
        ----------
        layout
            Where the ranks are.
        processor_share
            The processor time of a rank over its real time; 1 where ranks wait by polling.
        """
        total = Estimate(0.0, 0.0)
        for group in layout.groups:
            watts = self.node(group.node_class, busy_cores=group.ranks_per_node * processor_share)
            if isinstance(watts, Refusal):
                return watts
            # The same coefficients stand behind all nodes of a group: their errors add up.
            total = watts.scaled(group.nodes) if total.value == 0 else total + watts.scaled(group.nodes)
        return total


def _fitted(samples: tuple[EnergySample, ...], declared: Watts | None) -> Fit:
    """Fit idle and dynamic watts; while utilisation has not varied, the prior divides the total between them."""
    watts = [sample.energy_j / sample.seconds for sample in samples]
    cores = [sample.processor_s / sample.seconds for sample in samples]
    mean_w, mean_cores = sum(watts) / len(watts), sum(cores) / len(cores)
    # Half of it is for the cores that were busy, or would be for one: a nearly idle node says little of what a core takes.
    core_w = mean_w / 2 / max(mean_cores, 1.0)
    prior = [mean_w - core_w * mean_cores, core_w] if declared is None else [declared.idle_w, declared.core_w]
    prior_error = [max(_PRIOR_RANGE * value, 1e-6) for value in prior]
    # All samples are as sure as each other: little energy, or none where the meter stood still, is not known any better.
    noise = [max(LEAST_NOISE * mean_w, 1e-9)] * len(watts)
    features = [[1.0, each] for each in cores]
    return fit(features, watts, noise=noise, prior=prior, prior_error=prior_error)
