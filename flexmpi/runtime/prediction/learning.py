"""From what a job measures to its models: intervals, reconfigurations and energy, in the models' words.

Pure: what the supervisor knows comes in as plain data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flexmpi.models.observation import Observation
from flexmpi.models.power import EnergySample
from flexmpi.models.reconfiguration import MeasuredResize, Resize
from flexmpi.runtime.job.measurements import EnergyReading, IntervalReport
from flexmpi.runtime.job.reconfiguration import Reconfiguration


def observed(latest: IntervalReport, nodes: Sequence[str], class_of: Mapping[str, str]) -> Observation:
    """Return an interval as an observation.

    Parameters
    ----------
    latest
        What all ranks measured.
    nodes
        The node of each rank.
    class_of
        The class of each node.
    """
    return Observation.of_interval(
        nodes=nodes,
        classes=[class_of[node] for node in nodes],
        weights=latest.weights,
        load=latest.load,
        iterations=latest.iterations,
        real_s=latest.real_s,
        processor_s=latest.processor_s,
        communication_s=latest.communication_s,
        io_s=latest.io_s,
        whole_rows=latest.whole_rows,
        operations=latest.operations,
    )


def measured(done: Reconfiguration) -> MeasuredResize:
    """Return what a reconfiguration that was carried out has taken; choosing the shares counts as moving."""
    figures = done.figures
    resize = Resize(
        started=max(done.started.values(), default=0),
        joining=len(done.newcomers),
        leaving=len(done.leaving),
        size_bytes=figures["bytes"],
    )
    move_s = figures["balance_s"] + figures["move_s"]
    return MeasuredResize(resize, done.start_s, figures["join_s"], move_s, figures["part_s"])


def spent(
    reading: EnergyReading, latest: IntervalReport, nodes: Sequence[str], class_of: Mapping[str, str]
) -> EnergySample | None:
    """Return the energy of one of the nodes that a machine is; None where it is not known, or they are of several classes.

    Parameters
    ----------
    reading
        What the machine has spent.
    latest
        An interval of about that time: its processor time over its real time is how many cores ranks kept busy.
    nodes, class_of
        As for `observed`.
    """
    classes = {class_of[node] for node in reading.nodes if node in class_of}
    if reading.total_j is None or not reading.seconds or len(classes) != 1:
        return None
    cores = latest.busy_cores(rank for rank, node in enumerate(nodes) if node in reading.nodes)
    count = len(reading.nodes)
    return EnergySample(
        classes.pop(), reading.seconds, reading.total_j / count, processor_s=cores * reading.seconds / count
    )
