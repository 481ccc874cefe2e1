"""How a handover waits: each thing that happens is told once, and what was granted for one that fails is given back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from flexmpi.cluster.platform import Node
from flexmpi.errors import MembershipError
from flexmpi.protocol.handover import HandoverRefused, PlanningBegun, ReadyAtLoop, RowsPlanned
from flexmpi.runtime.job.application import Application
from flexmpi.runtime.job.handover_events import SuccessorLost
from flexmpi.runtime.job.options import Limits
from flexmpi.runtime.job.reconfiguration import Reconfiguration
from flexmpi.runtime.job.roster import RankId, Roster
from flexmpi.runtime.supervisor.execution import Job
from flexmpi.runtime.supervisor.handing_over import HandingOver

ENOUGH = 50
"""How often at most it may look whether anything has happened, for a handful of things that do."""


def the_time_is_up() -> None:
    """In a script: nothing happens within the limit."""


def nothing() -> None:
    """In a script: nothing happens."""


class ScriptedJob:
    """A job of one rank on ``a``, where the next line of a script happens when a handover waits, or asks who is stopped."""

    def __init__(self, script: Sequence[Callable[[], None]] = (), *, refused: str | None = None) -> None:
        self.roster = Roster(tuple(Node(name, 4, name, 1.0, 1.0) for name in "abc"))
        self.roster.members = self.roster.add(["a"]).ranks
        self.application = Application(loop=0, digest=7)
        self.limits, self.latest, self.options = Limits(), None, SimpleNamespace(blocks="node")
        self.script, self.looks = list(script), 0
        self.told: list[str] = []
        self.given_back: list[str] = []
        self.killed: list[int] = []
        self.failed: list[str] = []
        self.stopped_ranks: list[RankId] = []
        self._refused = refused
        self.bindings = self.grant = SimpleNamespace()

    def notify(self) -> None:
        pass

    def tell(self, ranks: Collection[RankId], kind: str, **fields: object) -> None:
        self.told.append(kind)

    async def ready_node(self, node: str | None) -> str:
        if node == self._refused:
            raise MembershipError(f"{node} was refused")
        return str(node)

    async def start_successor(self, places: Sequence[str]) -> list[RankId]:
        return self.roster.add(places).ranks

    def let_node_go(self, node: str, *, if_idle: bool) -> None:
        self.given_back.append(node)

    async def stopped(self, ranks: Collection[RankId]) -> list[RankId]:
        self.script.pop(0)()
        return [rank for rank in ranks if rank in self.stopped_ranks]

    def fail(self, why: str, *, status: int = 1) -> None:
        self.failed.append(why)

    def kill_process_set(self, number: int) -> None:
        self.killed.append(number)

    async def until(self, condition: Callable[[], bool], *, limit_s: float | None = None) -> bool:
        while True:
            self.looks += 1
            assert self.looks < ENOUGH, "it looks again and again, and nobody else has a turn"
            if condition():
                return True
            assert self.script, "it waits for ever"
            if (happens := self.script.pop(0)) is the_time_is_up:
                assert limit_s is not None, "it waits without a limit"
                return False
            happens()


def run(job: ScriptedJob, wanted: Reconfiguration, script: Callable[[HandingOver], list[Callable[[], Any]]]) -> str:
    """Return why a handover did not come about."""
    handing_over = HandingOver(cast(Job, job), wanted, number=1, outdated=None)
    job.script = script(handing_over)
    with pytest.raises(MembershipError) as failure:
        asyncio.run(handing_over.run())
    return str(failure.value)


def test_a_withdrawal_that_comes_with_the_last_rank_that_is_ready_is_told_once() -> None:
    wanted, job = Reconfiguration(1, "a test", {"a": 1}), ScriptedJob()

    def script(handing_over: HandingOver) -> list[Callable[[], Any]]:
        planned = RowsPlanned(1, (), (), ("a",), (), (), stood_s=0.0, move_s=0.0, moved_bytes=0)
        member, (first, second) = job.roster.members[0], (RankId(1, 0), RankId(1, 1))

        def it_is_withdrawn_and_all_are_ready() -> None:
            assert wanted.withdraw("it is not wanted any more")
            for rank in (first, second):
                handing_over.heard(rank, ReadyAtLoop(0, 7, (), ()))

        return [
            lambda: handing_over.opened(first),
            lambda: handing_over.opened(second),
            lambda: handing_over.heard(member, planned),
            it_is_withdrawn_and_all_are_ready,
            lambda: handing_over.heard(member, HandoverRefused(1, "it was withdrawn")),
        ]

    assert run(job, wanted, script) == "it is not wanted any more"
    assert job.told.count("WithdrawHandover") == 1 and job.killed == [1]


def test_nodes_that_were_granted_are_given_back_when_another_was_not() -> None:
    job = ScriptedJob(refused="c")
    assert run(job, Reconfiguration(1, "a test", {"b": 1, "c": 1}), lambda _: []) == "c was refused"
    assert job.given_back == ["b"], "the other is not there"


def test_a_predecessor_that_does_not_end_its_planning_ends_the_job_and_who_is_stopped_is_named() -> None:
    job = ScriptedJob()
    member = job.roster.members[0]
    job.stopped_ranks = [member]

    def script(handing_over: HandingOver) -> list[Callable[[], Any]]:
        return [lambda: handing_over.heard(member, PlanningBegun(1)), the_time_is_up, nothing]

    why = run(job, Reconfiguration(1, "a test", {"a": 1}), script)
    name = "rank 0 (node a, process set 0)"
    late = "the application's ranks did not plan who is to have which rows within 30 s (--stall-timeout)"
    assert why == f"reconfiguration 1: {name} is stopped by a signal or a debugger: {late}"
    assert (job.failed, job.killed) == ([why], [1])


def test_a_plan_that_comes_while_it_is_asked_who_is_stopped_is_in_time() -> None:
    wanted, job = Reconfiguration(1, "a test", {"a": 1}), ScriptedJob()
    member = job.roster.members[0]

    def script(handing_over: HandingOver) -> list[Callable[[], Any]]:
        planned = RowsPlanned(1, (), (), ("a",), (), (), stood_s=0.0, move_s=0.0, moved_bytes=0)
        return [
            lambda: handing_over.heard(member, PlanningBegun(1)),
            the_time_is_up,
            lambda: handing_over.heard(member, planned),
            lambda: wanted.withdraw("it is not wanted any more"),
        ]

    assert run(job, wanted, script) == "it is not wanted any more"
    assert (job.failed, job.killed) == ([], [1])


def test_a_successor_that_is_lost_before_the_predecessor_has_planned_is_ended_at_once() -> None:
    job = ScriptedJob()
    member = job.roster.members[0]

    def script(handing_over: HandingOver) -> list[Callable[[], Any]]:
        def it_is_lost() -> None:
            handing_over.apply(SuccessorLost("it is gone"))
            assert job.killed == [1]

        return [it_is_lost, lambda: handing_over.heard(member, HandoverRefused(1, "it was withdrawn"))]

    assert run(job, Reconfiguration(1, "a test", {"a": 1}), script) == "it is gone"
    assert job.told == ["PlanRows", "WithdrawHandover"] and job.killed == [1]
