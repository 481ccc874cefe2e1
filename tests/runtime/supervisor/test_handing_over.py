"""How a handover waits: each thing that happens is told once, and what was granted for one that fails is given back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from flexmpi.cluster.platform import Node
from flexmpi.errors import MembershipError
from flexmpi.protocol.handover import HandoverRefused, ReadyAtLoop, RowsPlanned
from flexmpi.runtime.job.application import Application
from flexmpi.runtime.job.options import Limits
from flexmpi.runtime.job.reconfiguration import Reconfiguration
from flexmpi.runtime.job.roster import RankId, Roster
from flexmpi.runtime.supervisor.execution import Job
from flexmpi.runtime.supervisor.handing_over import HandingOver

ENOUGH = 50
"""How often at most it may look whether anything has happened, for a handful of things that do."""


class ScriptedJob:
    """A job of one rank on ``a``, where something happens whenever a handover waits: the next line of a script."""

    def __init__(self, script: Sequence[Callable[[], None]] = (), *, refused: str | None = None) -> None:
        self.roster = Roster(tuple(Node(name, 4, name, 1.0, 1.0) for name in "abc"))
        self.roster.members = self.roster.add(["a"]).ranks
        self.application = Application(loop=0, digest=7)
        self.limits, self.latest, self.options = Limits(), None, SimpleNamespace(blocks="node")
        self.script, self.looks = list(script), 0
        self.told: list[str] = []
        self.given_back: list[str] = []
        self.killed: list[int] = []
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

    def kill_process_set(self, number: int) -> None:
        self.killed.append(number)

    async def until(self, condition: Callable[[], bool], *, limit_s: float | None = None) -> bool:
        while True:
            self.looks += 1
            assert self.looks < ENOUGH, "it looks again and again, and nobody else has a turn"
            if condition():
                return True
            assert self.script, "it waits for ever"
            self.script.pop(0)()


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
