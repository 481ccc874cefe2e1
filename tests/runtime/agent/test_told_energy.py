"""What a job tells an agent of the energy of its nodes: pure, and of a real job with a powercap tree on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flexmpi.protocol.messages import LONGEST_PERIOD_S, MOST_WATTS, NodeEnergy, Sample
from flexmpi.runtime.agent.link import energies_of
from flexmpi.runtime.job.measurements import EnergyReading, IntervalReport
from tests.agents import ScriptedAgent
from tests.applications import COREFILES, PROGRAMS, Application
from tests.powercap import Powercap

LATEST = IntervalReport(
    iteration=30,
    iterations=10,
    next_at=40,
    load=[1, 1, 1],
    weights=[1.0, 1.0, 1.0],
    real_s=[2.0, 2.0, 2.0],
    processor_s=[2.0, 1.0, 0.5],
    communication_s=[0.0, 0.0, 0.0],
    io_s=[0.0, 0.0, 0.0],
    operations={},
)
NODES = ["a", "a", "b"]
METERS = {"rapl:package-0": 50.0, "rapl:package-0/dram": 10.0, "rapl:package-0/core": 30.0}


def test_of_each_node_that_is_a_machine_its_joules_are_told_and_the_processor_time_of_the_ranks_there() -> None:
    readings = [EnergyReading(("a",), 4.0, METERS), EnergyReading(("b",), 3.0, {"rapl:package-0": 9.0})]
    assert energies_of(readings, LATEST, NODES) == (
        NodeEnergy(node="a", seconds=4.0, joules=60.0, processor_s=6.0),
        NodeEnergy(node="b", seconds=3.0, joules=9.0, processor_s=0.75),
    )


@pytest.mark.parametrize(
    "reading",
    [
        EnergyReading(("a", "b"), 4.0, METERS),
        EnergyReading(("elsewhere",), 4.0, METERS),
        EnergyReading(("a",), None, {}),
        EnergyReading(("a",), 4.0, {**METERS, "rapl:package-1": None}),
        EnergyReading(("a",), 0.0, METERS),
        EnergyReading(("a",), 2 * LONGEST_PERIOD_S, METERS),
        EnergyReading(("a",), 4.0, {"rapl:package-0": 8 * MOST_WATTS}),
    ],
    ids=["virtual nodes", "no ranks", "no answer", "a meter missing", "no time", "too long", "too much"],
)
def test_what_says_nothing_of_a_node_is_not_told(reading: EnergyReading) -> None:
    assert energies_of([reading], LATEST, NODES) == ()


def test_nothing_is_told_while_ranks_come_or_go() -> None:
    assert energies_of([EnergyReading(("a",), 4.0, METERS)], LATEST, [*NODES, "b"]) == ()


@pytest.fixture
def tree(tmp_path: Path) -> Powercap:
    powercap = Powercap(tmp_path / "powercap")
    powercap.add("intel-rapl:0", "package-0", range_uj=262_143_328_850)
    return powercap


@pytest.fixture
def start_on(start: Callable[..., Application], tree: Powercap, tmp_path: Path) -> Callable[[str], Application]:
    """Start a job of a rank for each of so many virtual nodes."""

    def start_one(nodes: str) -> Application:
        corefile = f"--corefile={COREFILES / 'demo.core'}"
        options = (corefile, f"--nodes={nodes}", f"-n{nodes}", "--interval=0.1s", f"--agent={tmp_path / 'agent'}")
        program = (PROGRAMS / "counting.py", "--pause=0.002")
        return start(*options, *program, environment={"FLEXMPI_POWERCAP": str(tree.root)})

    return start_one


def test_a_job_with_a_machine_for_a_node_tells_what_it_has_spent_once(
    start_on: Callable[[str], Application], tree: Powercap, tmp_path: Path
) -> None:
    with ScriptedAgent(tmp_path / "agent") as agent:
        application = start_on("1")
        agent.admit()
        told: list[NodeEnergy] = []
        # A period in which a busy machine's launcher answers too late is missing, with what was used in it.
        while not any(each.joules for each in told):
            tree.use("intel-rapl:0", 2.5)
            told += agent.until(Sample).energy
        assert {each.node for each in told} == {"demo-1"}
        assert all(each.seconds > 0 for each in told)
        assert told[-1].joules % 2.5 == pytest.approx(0.0)
        application.send("5:")
        application.finish()


def test_of_virtual_nodes_that_are_one_machine_nothing_is_told(
    start_on: Callable[[str], Application], tmp_path: Path
) -> None:
    with ScriptedAgent(tmp_path / "agent") as agent:
        application = start_on("2")
        agent.admit()
        application.wait_for("energy")
        assert [agent.until(Sample).energy for _ in range(4)] == [()] * 4
        application.send("5:")
        application.finish()
