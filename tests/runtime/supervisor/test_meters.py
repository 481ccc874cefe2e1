"""What a supervisor has its nodes measure, in its own logic, without a job."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any

import pytest

from flexmpi.errors import CommandError
from flexmpi.protocol.frames import Message
from flexmpi.runtime.job.measurements import EnergyReading
from flexmpi.runtime.job.roster import RankId
from flexmpi.runtime.machine.counters import Probe
from flexmpi.runtime.supervisor.meters import ENERGY_LIMIT_S, SHORTEST_PERIOD_S, Meters, refusals

NONE_HERE = "Event does not exist (PAPI_ENOEVNT)"
JOULES = {"rapl:package-0": 10.0, "rapl:package-0/dram": 2.5}


class Job:
    """What meters ask of a supervisor: it keeps what it is told, and has a clock that a test turns."""

    def __init__(self, nodes: Collection[str], **options: object) -> None:
        self.lines: dict[str, list[Message]] = {node: [] for node in nodes}
        self.process_sets: Any = self
        self.roster: Any = self
        self.log: Any = self
        self.members = [RankId(0, 0)]
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.told: list[dict[str, object]] = []
        self.warnings: list[str] = []
        self.readings: list[tuple[EnergyReading, ...]] = []
        self.now = 1000.0
        self.answers: dict[str, Message] = {}
        self.meters = Meters(self, on_energy=self.readings.append, clock=lambda: self.now, **options)

    @property
    def nodes(self) -> list[str]:
        return sorted(self.lines)

    def tell_launcher(self, node: str, kind: str, **fields: object) -> None:
        self.lines[node].append({"kind": kind, **fields})

    def occupied(self) -> dict[str, int]:
        return dict.fromkeys(self.lines, 1)

    def write(self, event: str, **fields: object) -> None:
        self.events.append((event, fields))

    def tell(self, ranks: Collection[RankId], kind: str, **fields: object) -> None:
        self.told.append({"ranks": list(ranks), "kind": kind, **fields})

    def warn(self, what: str) -> None:
        self.warnings.append(what)

    async def until(self, condition: Callable[[], bool], *, limit_s: float | None = None) -> bool:
        """Have the nodes answer that answer at all, and no time pass."""
        for node, answer in self.answers.items():
            self.answer(node, **answer)
        return condition()

    def answer(self, node: str, **fields: object) -> None:
        self.meters.heard(node, {"request": self.lines[node][-1]["request"], **fields})

    def arrive(self, *nodes: str, machine: str | None = None, sources: Collection[str] = tuple(JOULES)) -> None:
        for node in nodes:
            hello = {"machine": machine, "energy": {"sources": list(sources), "missing": {}}}
            self.meters.arrived(node, hello)

    def asked(self) -> int:
        """Return how often the first node has been asked for its energy."""
        return sum(message["kind"] == "energy" for message in self.lines["n1"])


def test_energy_is_asked_for_at_the_end_of_an_interval_and_known_when_all_have_answered():
    job = Job(["n1", "n2"])
    job.arrive("n1", "n2")
    job.meters.interval_ended(300)
    job.answer("n1", seconds=0.5, joules=JOULES)
    assert job.readings == []
    job.answer("n2", seconds=0.6, joules={"rapl:package-0": 1.0})
    readings = (EnergyReading(("n1",), 0.5, JOULES), EnergyReading(("n2",), 0.6, {"rapl:package-0": 1.0}))
    assert job.readings == [readings]
    assert job.meters.energy == readings
    machines = [
        {"nodes": ("n1",), "seconds": 0.5, "joules": JOULES, "total_j": 12.5, "missing": {}},
        {"nodes": ("n2",), "seconds": 0.6, "joules": {"rapl:package-0": 1.0}, "total_j": 1.0, "missing": {}},
    ]
    assert job.events[-1] == ("energy", {"iteration": 300, "machines": machines})


def test_nodes_that_are_one_machine_count_once():
    job = Job(["n1", "n2", "n3"])
    job.arrive("n1", "n2", machine="a")
    job.arrive("n3", machine="b")
    job.meters.interval_ended(300)
    for node in ("n2", "n1", "n3"):
        job.answer(node, seconds=0.5, joules=JOULES)
    assert [reading.nodes for reading in job.meters.energy] == [("n1", "n2"), ("n3",)]


def test_a_machine_without_a_meter_is_not_asked_and_missing_in_the_reading():
    job = Job(["n1", "n2"])
    job.arrive("n1")
    job.arrive("n2", sources=())
    job.meters.interval_ended(300)
    job.answer("n1", seconds=0.5, joules=JOULES)
    assert job.lines["n2"] == []
    assert job.meters.energy[1] == EnergyReading(("n2",), None, {})
    assert job.meters.energy[1].total_j is None


def test_without_any_meter_nobody_is_asked_and_there_is_no_reading():
    job = Job(["n1"])
    job.arrive("n1", sources=())
    job.meters.interval_ended(300)
    assert (job.lines["n1"], job.meters.energy, job.readings) == ([], (), [])


def test_short_intervals_share_a_reading():
    job = Job(["n1"])
    job.arrive("n1")
    for iteration in range(10):
        job.meters.interval_ended(iteration)
        if job.asked() > len(job.readings):
            job.answer("n1", seconds=0.1, joules=JOULES)
        job.now += SHORTEST_PERIOD_S / 2 + 1e-6
    assert job.asked() == 5
    assert [fields["iteration"] for event, fields in job.events if event == "energy"] == [0, 2, 4, 6, 8]


def test_a_node_that_does_not_answer_is_missing_and_holds_nobody_up_for_ever():
    job = Job(["n1", "n2"])
    job.arrive("n1", "n2")
    job.meters.interval_ended(300)
    job.answer("n1", seconds=0.5, joules=JOULES)
    job.now += ENERGY_LIMIT_S / 2
    job.meters.interval_ended(400)
    assert (job.asked(), job.readings) == (1, [])
    job.now += ENERGY_LIMIT_S
    job.meters.interval_ended(500)
    assert job.readings == [(EnergyReading(("n1",), 0.5, JOULES), EnergyReading(("n2",), None, {}))]
    assert job.asked() == 2


def test_an_answer_that_comes_too_late_is_not_taken_for_one_to_a_later_question():
    job = Job(["n1", "n2"])
    job.arrive("n1", "n2")
    job.meters.interval_ended(300)
    first = job.lines["n2"][-1]["request"]
    job.now += ENERGY_LIMIT_S
    job.meters.interval_ended(400)
    job.meters.heard("n2", {"request": first, "seconds": 99.0, "joules": JOULES})
    job.answer("n1", seconds=0.5, joules=JOULES)
    assert len(job.readings) == 1
    job.answer("n2", seconds=0.4, joules=JOULES)
    assert [reading.seconds for reading in job.readings[1]] == [0.5, 0.4]


def test_what_was_spent_before_a_loop_is_not_that_of_its_first_interval():
    job = Job(["n1"])
    job.arrive("n1")
    job.meters.begin_loop()
    job.answer("n1", seconds=30.0, joules=JOULES)
    assert (job.meters.energy, job.readings) == ((), [])
    job.now += 1.0
    job.meters.interval_ended(100)
    job.answer("n1", seconds=1.0, joules=JOULES)
    assert [reading.seconds for reading in job.meters.energy] == [1.0]


def test_why_a_meter_is_missing_is_said_once_for_a_machine_and_a_reason():
    job = Job(["n1", "n2"])
    job.arrive("n1", "n2", machine="a")
    gone, above = "energy_uj: Permission denied", "energy_uj is above its range of 1000 (max_energy_range_uj)"
    for why in ({}, {"rapl:package-0": gone}, {"rapl:package-0": gone}, {"rapl:package-0": above}, {}):
        job.now += 1.0
        job.meters.interval_ended(100)
        job.answer("n1", seconds=1.0, joules={"rapl:package-0": None if why else 1.0}, missing=why)
        job.answer("n2", seconds=1.0, joules={"rapl:package-0": None if why else 1.0}, missing=why)
    assert job.warnings == [f"rapl:package-0 of n1,n2 is shown as n/a: {why}" for why in (gone, above)]
    assert [event["machines"][0]["missing"] for name, event in job.events if name == "energy"][1:3] == [
        {"rapl:package-0": gone}
    ] * 2


def follow(job: Job, *events: str, wanted: Collection[str] | None = None) -> str:
    return asyncio.run(job.meters.follow(events, wanted=wanted or events))


def test_one_node_of_each_machine_is_asked_what_it_counts():
    job = Job(["n1", "n2", "n3"])
    job.arrive("n1", "n2", machine="a")
    job.arrive("n3", machine="b")
    job.answers = {node: {"refused": {}, "countable": []} for node in ("n1", "n3")}
    assert follow(job, "PAPI_TOT_INS", "PAPI_TOT_INS") == ""
    assert [sent != [] for sent in job.lines.values()] == [True, False, True]
    assert job.told == [{"ranks": [RankId(0, 0)], "kind": "counters", "events": ("PAPI_TOT_INS",)}]


def test_what_one_machine_counts_is_counted_and_of_the_other_it_is_said_why_not():
    job = Job(["n1", "n2"])
    job.answers = {"n1": {"refused": {}, "countable": []}, "n2": {"refused": {"A_B": NONE_HERE}, "countable": []}}
    assert follow(job, "A_B", "C_D") == f"A_B on n2: {NONE_HERE}"
    assert job.meters.events == ("A_B", "C_D")
    job.meters.uncounted("rank 1", {"A_B": NONE_HERE})
    assert job.warnings == []


def test_what_no_machine_counts_is_followed_too_so_that_it_is_shown_as_missing():
    job = Job(["n1"])
    job.answers = {"n1": {"refused": {"A_B": NONE_HERE}, "countable": []}}
    assert follow(job, "A_B", "C_D") == f"A_B on n1: {NONE_HERE}"
    assert job.meters.events == ("A_B", "C_D")
    assert job.meters.environment() == {"FLEXMPI_COUNTERS": "A_B C_D"}


def test_a_node_that_does_not_say_what_it_counts_in_time_counts_nothing():
    job = Job(["n1"])
    with pytest.raises(CommandError, match="the counters stay as they are: A_B on n1: no answer within 4 s"):
        follow(job, "A_B")
    assert (job.meters.events, job.told) == ((), [])


def test_an_event_counted_before_does_not_make_up_for_one_that_is_wanted_and_cannot_be():
    job = Job(["n1"], events=["C_D"])
    job.answers = {"n1": {"refused": {"A_B": NONE_HERE}, "countable": []}}
    with pytest.raises(CommandError, match=r"stay as they are: A_B on n1: Event does not exist \(PAPI_ENOEVNT\)"):
        follow(job, "A_B", "C_D", wanted=["A_B"])
    assert job.meters.events == ("C_D",)


def test_a_refusal_that_ranks_find_themselves_is_warned_of_once():
    job = Job(["n1"])
    for rank in ("rank 0", "rank 1"):
        job.meters.uncounted(rank, {"A_B": NONE_HERE})
    assert job.warnings == [f"A_B is not counted and shown as n/a: {NONE_HERE} (rank 0)"]
    assert [event for event, _ in job.events] == ["uncounted", "uncounted"]


def test_refusals_of_one_reason_are_one_part_of_the_line():
    probes = {
        "n1": Probe({"A_B": "no", "C_D": "no"}, ("E_F", "G_H")),
        "n2": Probe({"A_B": "no", "C_D": "no"}, ("G_H",)),
        "n3": Probe({"C_D": "never"}, ("A_B", "G_H")),
        "n4": Probe({}),
    }
    assert refusals(probes) == ("A_B and C_D on n1 and n2: no; C_D on n3: never; what can be counted there: G_H")
    assert refusals({"n4": Probe({})}) == ""


def test_many_machines_are_not_named_one_by_one():
    probes = {f"n{number}": Probe({"A_B": "no"} if number else {}) for number in range(100)}
    assert refusals(probes) == "A_B on 99 of 100 machines: no"
