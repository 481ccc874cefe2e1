"""What a supervisor has its nodes measure, in its own logic and in real jobs.

The jobs count with a fake PAPI, whose counts are made up, for the machine may have no counters; the real one says so, if it
has none. Energy is read from a powercap tree on disk.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from flexmpi.errors import CommandError
from flexmpi.protocol.frames import Message
from flexmpi.runtime.job.measurements import EnergyReading
from flexmpi.runtime.job.roster import RankId
from flexmpi.runtime.machine.counters import Probe, parse_probe, probe_command
from flexmpi.runtime.supervisor.meters import ENERGY_LIMIT_S, SHORTEST_PERIOD_S, Meters, refusals
from tests.applications import COREFILES, PROGRAMS, Application
from tests.powercap import Powercap
from tests.runtime.conftest import FAKE_PAPI

Start = Callable[..., Application]

NONE_HERE = "Event does not exist (PAPI_ENOEVNT)"
TWO_NODES = (f"--corefile={COREFILES / 'demo.core'}", "--interval=0.05s")
COUNTING = (PROGRAMS / "counting.py", "--pause=0.001")
FAKE = {"environment": {"PYTHONPATH": str(FAKE_PAPI)}}
JOULES = {"rapl:package-0": 10.0, "rapl:package-0/dram": 2.5}


# A supervisor's meters, without a job


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
        {"nodes": ("n1",), "seconds": 0.5, "joules": JOULES, "total_j": 12.5},
        {"nodes": ("n2",), "seconds": 0.6, "joules": {"rapl:package-0": 1.0}, "total_j": 1.0},
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


# Counters in real jobs


@pytest.fixture
def controller() -> Iterator[socket.socket]:
    """A UDP socket where a controller would listen."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.bind(("127.0.0.1", 0))
        end.settimeout(30.0)
        yield end


def received(controller: socket.socket, pattern: str) -> str:
    """Wait for a line like this."""
    while not re.search(pattern, line := controller.recv(4096).decode()):
        pass
    return line


def counted(application: Application, *events: str) -> dict[str, Any]:
    """Wait for a sample in which these events were followed."""
    while tuple((sample := application.wait_for("sample"))["counters"]) != events:
        pass
    return sample


def test_ranks_count_from_their_start_what_the_option_names(start: Start, controller: socket.socket) -> None:
    counters = "--counters=PAPI_DP_OPS,PAPI_TOT_INS"
    application = start(*TWO_NODES, "-n2", counters, f"--report={controller.getsockname()[1]}", *COUNTING, **FAKE)
    sample = application.wait_for("sample")
    assert sample["counters"] == {"PAPI_DP_OPS": [300_000] * 2, "PAPI_TOT_INS": [1_000_000] * 2}
    assert application.send("4:on").startswith("ok: ")
    line = received(controller, " rtime ")
    assert re.search(r" Mflops [0-9]+ PAPI_DP_OPS 600000 PAPI_TOT_INS 2000000 Ratio=3.333333 iotime ", line)
    assert ", flops 600000, size 2, " in application.send("3:")
    assert application.send("5:").startswith("ok: ")
    status, output, errors = application.finish()
    rate = re.search(r"^Iter: [0-9]+ FLOPs: 300000 MFLOPs:: ([0-9.]+) RTIME:: ([0-9.]+) ", output, re.MULTILINE)
    assert rate is not None
    assert float(rate[1]) == pytest.approx(0.3 / float(rate[2]), rel=1e-3)
    assert (status, errors) == (143, "")


def test_command_7_changes_what_all_ranks_count_and_newcomers_count_it_too(start: Start) -> None:
    application = start(*TWO_NODES, "-n2", *COUNTING, **FAKE)
    assert application.wait_for("sample")["counters"] == {}
    assert application.send("7:PAPI_TOT_INS:PAPI_TOT_CYC:") == "ok: counters are PAPI_TOT_INS and PAPI_TOT_CYC"
    sample = counted(application, "PAPI_TOT_INS", "PAPI_TOT_CYC")
    assert sample["counters"] == {"PAPI_TOT_INS": [1_000_000] * 2, "PAPI_TOT_CYC": [2_500_000] * 2}
    assert application.change("6:node2:1:lhost:1")["outcome"] == "done"
    assert application.wait_for("sample")["counters"]["PAPI_TOT_INS"] == [1_000_000] * 4
    assert application.send("7:PAPI_SP_OPS") == "ok: counters are PAPI_SP_OPS and PAPI_TOT_CYC"
    assert counted(application, "PAPI_SP_OPS", "PAPI_TOT_CYC")["counters"]["PAPI_SP_OPS"] == [40_000] * 4


def test_what_to_count_outlives_the_first_ranks_and_parked_ranks_learn_it_when_they_are_back(start: Start) -> None:
    application = start(*TWO_NODES, "-n3", "--counters=PAPI_TOT_CYC", *COUNTING, **FAKE)
    application.wait_for("sample")
    assert application.change("6:lhost:-1")["outcome"] == "done"
    assert application.send("7:PAPI_TOT_INS:PAPI_SP_OPS").startswith("ok: ")
    assert application.change("6:lhost:1")["outcome"] == "done"
    assert counted(application, "PAPI_TOT_INS", "PAPI_SP_OPS")["counters"]["PAPI_SP_OPS"] == [40_000] * 3
    assert application.change("6:lhost:-3:node2:1")["outcome"] == "done"
    assert application.send("7:PAPI_TOT_CYC:PAPI_SP_OPS").startswith("ok: ")
    assert counted(application, "PAPI_TOT_CYC", "PAPI_SP_OPS")["counters"]["PAPI_TOT_CYC"] == [2_500_000]


def test_the_reply_says_what_is_not_counted_and_what_could_be(start: Start, controller: socket.socket) -> None:
    application = start(*TWO_NODES, "-n1", f"--report={controller.getsockname()[1]}", *COUNTING, **FAKE)
    application.wait_for("sample")
    could = "what can be counted there: PAPI_DP_OPS, PAPI_SP_OPS, PAPI_TOT_CYC, PAPI_TOT_INS"
    refused = f"error: the counters stay as they are: PAPI_L1_DCM and perf::CYCLES on demo-1: {NONE_HERE}; {could}"
    assert application.send("7:PAPI_L1_DCM:perf::CYCLES") == refused
    application.send("4:on")
    assert " PAPI_SP_OPS n/a PAPI_TOT_CYC n/a Ratio=n/a " in received(controller, " rtime ")
    assert application.send("7:PAPI_L1_DCM:PAPI_TOT_INS") == (
        f"ok: counters are PAPI_L1_DCM and PAPI_TOT_INS; shown as n/a: PAPI_L1_DCM on demo-1: {NONE_HERE}; {could}"
    )
    assert received(controller, " PAPI_L1_DCM n/a PAPI_TOT_INS 1000000 Ratio=n/a ")


def test_a_counter_of_the_option_that_there_is_not_is_warned_of_once_and_the_job_goes_on(start: Start) -> None:
    application = start(*TWO_NODES, "-n2", "--counters=PAPI_FP_OPS,PAPI_TOT_INS", *COUNTING, **FAKE)
    assert application.wait_for("sample")["counters"] == {"PAPI_FP_OPS": [None] * 2, "PAPI_TOT_INS": [1_000_000] * 2}
    application.send("5:")
    _, output, errors = application.finish()
    assert re.fullmatch(
        rf"flexmpi: warning: PAPI_FP_OPS is not counted and shown as n/a: {re.escape(NONE_HERE)} \(rank . .*\)\n",
        errors,
    )
    assert " FLOPs: n/a MFLOPs:: n/a " in output


def test_the_reply_has_the_words_of_the_real_papi_where_it_refuses(start: Start) -> None:
    pytest.importorskip("pypapi", reason="there is no python-papi for this processor or Python")
    application = start(*TWO_NODES, "-n1", *COUNTING)
    application.wait_for("sample")
    events = ["PAPI_TOT_INS", "PAPI_NOT_ANY_ONE"]
    found = asyncio.run(_output_of(probe_command(events)))
    why = refusals({"demo-1": parse_probe(found)})
    assert "PAPI_NOT_ANY_ONE" in why
    assert "PAPI_E" in why
    reply = application.send(f"7:{':'.join(events)}")
    if "PAPI_TOT_INS" in parse_probe(found).refused:
        assert reply == f"error: the counters stay as they are: {why}"
    else:
        assert reply == f"ok: counters are {' and '.join(events)}; shown as n/a: {why}"
        assert counted(application, "PAPI_TOT_INS")["counters"]["PAPI_TOT_INS"][0] > 0


async def _output_of(command: list[str]) -> str:
    child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    return (await child.communicate())[0].decode()


def test_a_papi_that_hangs_is_answered_for_in_time_and_the_application_computes_on(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "pypapi.py").write_text("import threading; threading.Event().wait()")
    application = start(*TWO_NODES, "-n1", *COUNTING, environment={"PYTHONPATH": str(tmp_path)})
    application.wait_for("sample")
    # The node's own limit is a little shorter than the supervisor's, unless the machine is very busy.
    assert re.fullmatch(
        "error: the counters stay as they are: PAPI_TOT_INS and PAPI_TOT_CYC on demo-1: .*no answer within [34] s",
        application.send("7:PAPI_TOT_INS:"),
    )
    assert application.wait_for("sample")["counters"] == {}


# Energy in real jobs


@pytest.fixture
def tree(tmp_path: Path) -> Powercap:
    powercap = Powercap(tmp_path / "powercap")
    powercap.add("intel-rapl:0", "package-0", range_uj=262_143_328_850, energy_uj=262_143_000_000)
    powercap.add("intel-rapl:0:0", "dram", range_uj=65_712_999_613)
    return powercap


def spent(application: Application, tree: Powercap, joules: float) -> dict[str, Any]:
    """Have the first package use so much, and return the reading that has it.

    On a machine so busy that its launcher answers too late a period is missing, and what was used in it.
    """
    while True:
        tree.use("intel-rapl:0", joules)
        used = 0.0
        while used is not None and used < joules:
            (machine,) = application.wait_for("energy")["machines"]
            used = used + machine["joules"]["rapl:package-0"] if machine["joules"] else None
        if used is not None:
            assert used == pytest.approx(joules)
            return machine


def test_energy_is_read_by_itself_once_for_a_machine_and_shown(
    start: Start, tree: Powercap, controller: socket.socket
) -> None:
    environment = {"FLEXMPI_POWERCAP": str(tree.root)}
    report = f"--report={controller.getsockname()[1]}"
    application = start(*TWO_NODES, "--nodes=2", "-n2", report, *COUNTING, environment=environment)
    sources = application.wait_for("energy_sources", node="demo-2")
    assert (sources["sources"], sources["missing"]) == (["rapl:package-0", "rapl:package-0/dram"], {})
    for command in ("4:on", "1:monitor"):
        assert application.send(command).startswith("ok: ")
    application.wait_for("energy")
    machine = spent(application, tree, 12.5)
    assert machine["nodes"] == ["demo-1", "demo-2"]
    assert machine["joules"]["rapl:package-0/dram"] == 0.0
    assert machine["seconds"] > 0
    form = r"energy [0-9.]+ J in [0-9.]+ s: rapl:package-0 [0-9.]+, rapl:package-0/dram 0.000000"
    assert received(controller, rf"^\[demo-1,demo-2\] {form}$")
    assert re.search(r", energy [0-9.]+ J in [0-9.]+ s \(rapl\)$", application.send("3:"))
    tree.file("intel-rapl:0:0").unlink()
    while (machine := application.wait_for("energy")["machines"][0])["joules"]["rapl:package-0/dram"] is not None:
        pass
    assert machine["total_j"] is None
    assert re.search(r", energy n/a$", application.send("3:"))
    application.send("5:")
    assert re.search(rf"^\[demo-1,demo-2\] {form}$", application.finish()[1], re.MULTILINE)


def test_without_meters_energy_is_missing_and_the_log_says_why(start: Start, tmp_path: Path) -> None:
    application = start(*TWO_NODES, "-n1", *COUNTING, environment={"FLEXMPI_POWERCAP": str(tmp_path / "none")})
    sources = application.wait_for("energy_sources")
    assert (sources["sources"], sources["missing"]) == ([], {str(tmp_path / "none"): "No such file or directory"})
    for _ in range(4):
        application.wait_for("sample")
    assert application.send("3:").endswith(", energy n/a")
    assert not [event for event in application.seen if event["event"] == "energy"]
