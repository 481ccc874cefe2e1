"""Policies that predict, between a job's intervals and its reconfigurations; the job is a fake, the solver is real."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest

from flexmpi.cluster.platform import ANY_NODE, Node
from flexmpi.errors import CommandError
from flexmpi.runtime.job.application import Application
from flexmpi.runtime.job.grant import Grant
from flexmpi.runtime.job.measurements import EnergyReading, IntervalReport
from flexmpi.runtime.job.options import Limits
from flexmpi.runtime.job.policies import JobPolicy
from flexmpi.runtime.job.reconfiguration import Reconfiguration, Stage
from flexmpi.runtime.job.roster import Roster
from flexmpi.runtime.supervisor.adviser import COOL_DOWN_S, LARGEST_SEARCH, Adviser, _grid

PLATFORM = (Node("n1", 2, "node", cost=1.0), Node("n2", 2, "node", cost=1.0))


class Job:
    """What an adviser asks of a supervisor: it keeps what it is told, and its ranks compute as they are said to."""

    def __init__(self, *, on_demand: bool = False, maximum_nodes: int = 2) -> None:
        self.roster = Roster(PLATFORM)
        self.roster.members = self.roster.add(["n1"]).ranks
        self.application = Application(loop=0, maximum=10_000)
        self.grant = Grant(None)
        self.limits = Limits(1, maximum_nodes)
        self.nodes_on_demand = on_demand
        self.reconfigurer: Any = self
        self.log: Any = self
        self.busy = False
        self.refusal = ""
        self.requests: list[tuple[Sequence[tuple[str, int]], str]] = []
        self.lines: list[str] = []
        self.events: list[dict[str, Any]] = []
        self.now = 0.0
        self.questions: list[dict[str, Any]] = []
        self.answers = True
        self._coroutines: list[Coroutine[object, object, None]] = []
        self.iteration = 0

    def request(self, changes: Sequence[tuple[str, int]], *, cause: str) -> None:
        self.requests.append((changes, cause))
        if self.refusal:
            raise CommandError(self.refusal)

    def show(self, *lines: str) -> None:
        self.lines.extend(lines)

    def write(self, event: str, **fields: object) -> None:
        self.events.append({"event": event, **fields})

    def spawn(self, coroutine: Coroutine[object, object, None]) -> None:
        self._coroutines.append(coroutine)

    def tell(self, ranks: object, kind: str, **fields: Any) -> None:
        assert (ranks, kind) == (self.roster.members[:1], "imagine")
        self.questions.append(fields)

    def adviser(self, **options: Any) -> Adviser:
        return Adviser(self, watts={"": (100.0, 10.0)}, began=0.0, clock=lambda: self.now, **options)

    def intervals(self, adviser: Adviser, policy: str | JobPolicy, count: int, *, iteration_s: float = 1.0) -> None:
        """Have intervals of ten iterations end, whose time its ranks share, and let the adviser think after each."""
        in_force = policy if isinstance(policy, JobPolicy) else JobPolicy.parse(policy)
        for _ in range(count):
            ranks = len(self.roster.members)
            self.iteration += 10
            self.now += 10 * iteration_s / ranks
            times = [10 * iteration_s / ranks] * ranks
            none = [0.0] * ranks
            latest = IntervalReport(
                self.iteration, 10, self.iteration + 10, [100.0] * ranks, [1.0] * ranks, times, times, none, none
            )
            adviser.interval_ended(latest, in_force)
            self.think()
            while self.questions and self.answers:
                adviser.imagined(self.answer(self.questions.pop()), in_force)
                self.think()

    def think(self) -> None:
        while self._coroutines:
            asyncio.run(self._coroutines.pop())

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """Answer as ranks do: a change of so many ranks moves as many bytes."""
        return {"number": question["number"], "bytes": [len(change["weights"]) for change in question["changes"]]}


def test_what_is_wanted_twice_in_a_row_is_asked_for():
    job = Job()
    adviser = job.adviser()
    # The first interval warms up, three are needed to predict anything.
    job.intervals(adviser, "speedup:0.5", 4)
    assert job.requests == []
    assert len(job.lines) == 1
    job.intervals(adviser, "speedup:0.5", 1)
    assert job.requests == [([("n1", 1)], "policy speedup")]
    assert len(job.lines) == 1
    (event,) = job.events
    assert (event["event"], event["policy"], event["dry_run"]) == ("decision", "speedup", False)
    assert event["chosen"]["changes"] == {"n1": 1}


def test_the_ranks_are_asked_once_what_changes_would_move_and_a_decision_waits_for_the_answer():
    job = Job()
    job.answers = False
    adviser = job.adviser()
    job.intervals(adviser, "speedup:0.5", 5)
    assert (job.lines, job.requests) == ([], [])
    (question,) = job.questions
    assert question["weights"] == (1.0,)
    assert {"weights": (1.0, 1.0), "newcomers": (1,)} in question["changes"]
    adviser.imagined({"number": question["number"] - 1, "bytes": []}, JobPolicy.parse("speedup:0.5"))
    job.think()
    assert job.lines == []
    adviser.imagined(job.answer(question), JobPolicy.parse("speedup:0.5"))
    job.think()
    assert len(job.lines) == 1
    assert job.events[0]["chosen"]["bytes"] == 2
    # What is known now is known: one more interval, and the change has been wanted twice.
    job.intervals(adviser, "speedup:0.5", 1)
    assert len(job.requests) == len(job.questions) == 1


def test_after_a_change_the_ranks_are_asked_anew_though_their_weights_are_the_same():
    job = Job()
    adviser = job.adviser(dry_run=True)
    job.intervals(adviser, "speedup:0.5", 4)
    job.answers = False
    adviser.reconfigured(Reconfiguration(1, "test", {}, stage=Stage.DONE, ready={"n1": 1}))
    job.intervals(adviser, "speedup:0.5", 2)
    assert len(job.questions) == 1


def test_a_part_of_the_time_to_go_is_counted_from_when_the_policy_came_into_force():
    job = Job()
    # 10,000 iterations of 1 s: after the first four intervals 9,960 s to go, of which a quarter is to be saved.
    adviser, policy = job.adviser(dry_run=True), JobPolicy.parse("EFFICIENCY_IRR:25")
    job.intervals(adviser, policy, 4)
    assert "; wanted to finish within 7470 s; chosen 2 ranks, " in job.lines[0]
    job.roster.members += job.roster.add(["n1"]).ranks
    job.intervals(adviser, policy, 4)
    # 20 s later.
    assert "now 2 ranks, " in job.lines[1] and "; wanted to finish within 7450 s; keeps this" in job.lines[1]


def test_a_dry_run_says_what_it_would_do_and_does_not_do_it():
    job = Job()
    job.intervals(job.adviser(dry_run=True), "speedup:0.5", 10)
    assert job.requests == []
    assert [line.endswith("(dry run)") for line in job.lines] == [True]


def test_nothing_is_asked_for_while_a_change_is_under_way_or_under_a_policy_that_predicts_nothing():
    job = Job()
    adviser = job.adviser()
    job.busy = True
    job.intervals(adviser, "speedup:0.5", 10)
    job.busy = False
    job.intervals(adviser, "triggered", 10)
    assert (job.requests, job.lines) == ([], [])


def test_a_program_of_fixed_size_is_left_alone():
    job = Job()
    job.application.obstacle = "this MPI cannot open ports"
    job.intervals(job.adviser(), "speedup:0.5", 10)
    assert (job.requests, job.lines) == ([], [])


def test_a_change_that_is_not_possible_is_said_and_not_asked_for_at_once_again():
    job = Job()
    adviser = job.adviser()
    job.refusal = "the application is ending"
    job.intervals(adviser, "speedup:0.5", 6)
    assert len(job.requests) == 1
    assert job.lines[-1] == "Policy speedup: not possible: the application is ending"
    job.now += COOL_DOWN_S
    job.intervals(adviser, "speedup:0.5", 2)
    assert len(job.requests) == 2


def test_after_a_change_of_its_own_was_dropped_it_waits_for_a_while():
    job = Job()
    adviser = job.adviser()
    job.intervals(adviser, "speedup:0.5", 5)
    dropped = Reconfiguration(1, "policy speedup", {"n1": 1})
    dropped.fail("not granted")
    adviser.reconfigured(dropped)
    job.intervals(adviser, "speedup:0.5", 2, iteration_s=0.1)
    assert len(job.requests) == 1
    job.now += COOL_DOWN_S
    job.intervals(adviser, "speedup:0.5", 2)
    assert len(job.requests) == 2


def test_a_reconfiguration_that_was_carried_out_teaches_its_cost():
    job = Job()
    adviser = job.adviser()
    for number in range(2):
        done = Reconfiguration(number, "test", {"n1": 1}, stage=Stage.DONE, start_s=0.25, started={"n1": 1})
        done.figures = {"bytes": 80, "join_s": 0.01, "balance_s": 0.0, "move_s": 0.001, "part_s": 0.0}
        adviser.reconfigured(done)
    assert len(adviser.model.reconfiguration.samples) == 2


def test_another_loop_is_learnt_anew():
    job = Job()
    adviser = job.adviser()
    job.intervals(adviser, "triggered", 6)
    assert adviser.model.history.too_few is None
    job.application.loop = 1
    job.intervals(adviser, "triggered", 1)
    assert adviser.model.history.too_few is not None


def test_figures_that_fit_no_model_end_no_job(monkeypatch):
    def misfit(*_: object) -> None:
        raise ZeroDivisionError("division by zero")

    job = Job()
    monkeypatch.setattr("flexmpi.runtime.supervisor.adviser.alternatives", misfit)
    job.intervals(job.adviser(), "speedup:0.5", 6)
    assert job.lines == ["Policy speedup: waits: what was measured fits no model (division by zero)"]
    assert job.requests == []


def test_why_a_policy_waits_is_said_once():
    job = Job()
    adviser = Adviser(job, watts={}, began=0.0, clock=lambda: job.now)
    job.intervals(adviser, "energy", 8)
    assert job.lines == [
        "Policy energy: waits: 0 of 3 energy samples of a node of class node, and no watts declared for it"
    ]


def test_energy_that_was_measured_takes_the_place_of_what_was_declared():
    job = Job()
    adviser = job.adviser()
    job.intervals(adviser, "energy", 4)
    assert "(declared)" in job.lines[-1]
    busy = IntervalReport(10, 10, 20, [1.0], [1.0], [10.0], [10.0], [0.0], [0.0])
    for _ in range(3):
        adviser.energy_read([EnergyReading(("n1",), 10.0, {"rapl:package-0": 900.0})], busy)
    watts = adviser.model.power.node("node", busy_cores=1.0)
    assert (watts.source, watts.value) == ("learnt", pytest.approx(90.0, rel=0.05))


def test_where_nodes_come_on_demand_one_more_is_asked_for_whatever_its_name():
    job = Job(on_demand=True)
    job.roster.members = [*job.roster.members, *job.roster.add(["n1"]).ranks]
    job.intervals(job.adviser(), "speedup:0.5", 6)
    assert job.requests[-1] == ([(ANY_NODE, 2)], "policy speedup")


def test_only_nodes_that_are_the_jobs_are_looked_at():
    job = Job()
    job.grant = Grant(["n1"])
    job.roster.members = [*job.roster.members, *job.roster.add(["n1"]).ranks]
    job.intervals(job.adviser(), "speedup:0.5", 6)
    assert job.requests == []


def test_the_limit_on_nodes_is_kept():
    job = Job(maximum_nodes=1)
    job.roster.members = [*job.roster.members, *job.roster.add(["n1"]).ranks]
    job.intervals(job.adviser(), "speedup:0.5", 6)
    assert job.requests == []


@pytest.mark.parametrize(("most", "present"), [(1, 1), (96, 4), (1000, 7), (100_000, 99_999)])
def test_numbers_of_ranks_to_look_at_are_all_or_some_up_to_the_most_and_the_present_one(most, present):
    grid = _grid(most, present)
    assert grid == tuple(sorted(set(grid)))
    assert (grid[0], grid[-1]) == (1, most)
    assert present in grid
    assert len(grid) <= LARGEST_SEARCH + 1


def test_ranks_on_a_node_that_came_later_are_learnt_from_as_those_of_its_class():
    job = Job(on_demand=True, maximum_nodes=3)
    adviser = job.adviser()
    job.intervals(adviser, "speedup:0.5", 2)
    job.roster.nodes = (*PLATFORM, Node("n3", 2, "n3"), Node("n4", 8, "n4"))
    job.roster.members = [rank for node in ("n1", "n3", "n4") for rank in job.roster.add([node]).ranks]
    job.intervals(adviser, "speedup:0.5", 4)
    assert adviser.model.power.declared.keys() == {"2 cores", "8 cores"}
    assert job.events[-1]["event"] == "decision"
