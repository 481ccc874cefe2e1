"""What the supervisor knows, in the models' words."""

from __future__ import annotations

import pytest

from flexmpi.models.reconfiguration import Resize
from flexmpi.runtime.job.measurements import EnergyReading, IntervalReport
from flexmpi.runtime.job.reconfiguration import Reconfiguration
from flexmpi.runtime.job.roster import RankId
from flexmpi.runtime.prediction.learning import measured, observed, spent

LATEST = IntervalReport(
    iteration=30,
    iterations=10,
    next_at=40,
    load=[6, 4],
    weights=[1.0, 1.0],
    real_s=[2.0, 2.0],
    processor_s=[1.0, 2.0],
    communication_s=[0.5, 1.0],
    io_s=[0.0, 0.0],
    operations={"reduction": [[3, 24, 0.5], [3, 24, 1.0]]},
)
NODES, CLASSES = ["a", "b"], {"a": "x", "b": "x", "c": "y"}


def test_an_interval_becomes_an_observation_of_its_layout():
    seen = observed(LATEST, NODES, CLASSES)
    assert (seen.layout.nodes, seen.layout.groups[0].node_class, seen.rows) == (2, "x", 10)
    assert seen.operations["reduction"].calls == 3
    assert seen.operations["reduction"].seconds == pytest.approx(0.075)
    assert seen.processor_share == 0.75


def test_a_reconfiguration_tells_what_its_phases_took_and_how_many_ranks_were_really_started():
    done = Reconfiguration(1, "test", {"a": 3})
    done.units, done.started, done.leaving, done.start_s = (
        [[RankId(0, 1)], [RankId(1, 0), RankId(1, 1)]],
        {"a": 2},
        (0,),
        0.3,
    )
    done.figures = {"bytes": 800, "join_s": 0.01, "balance_s": 0.001, "move_s": 0.02, "part_s": 0.003, "stall_s": 0.04}
    found = measured(done)
    assert found.resize == Resize(started=2, joining=3, leaving=1, size_bytes=800)
    assert (found.start_s, found.join_s, found.move_s, found.part_s) == (0.3, 0.01, pytest.approx(0.021), 0.003)


def test_the_energy_of_a_machine_is_that_of_its_nodes():
    reading = EnergyReading(("a", "b"), 4.0, {"rapl:package-0": 500.0, "rapl:package-0/core": 400.0})
    sample = spent(reading, LATEST, NODES, CLASSES)
    assert sample is not None
    assert (sample.node_class, sample.seconds, sample.energy_j) == ("x", 4.0, 250.0)
    # 1.5 cores busy on both nodes together.
    assert sample.processor_s == pytest.approx(3.0)


@pytest.mark.parametrize(
    "reading",
    [
        EnergyReading(("a",), 4.0, {"rapl:package-0": None}),
        EnergyReading(("a",), None, {"rapl:package-0": 1.0}),
        EnergyReading(("a", "c"), 4.0, {"rapl:package-0": 1.0}),
        EnergyReading(("elsewhere",), 4.0, {"rapl:package-0": 1.0}),
        EnergyReading(("a",), 4.0, {}),
    ],
)
def test_energy_that_is_not_known_or_of_nodes_of_several_classes_teaches_nothing(reading):
    assert spent(reading, LATEST, NODES, CLASSES) is None
