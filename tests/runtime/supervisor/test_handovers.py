"""What a job has of handovers: one successor may wait until it is wanted, and has gone before another comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from flexmpi.protocol.handover import ReadyAtLoop, RowsPlanned
from flexmpi.runtime.job.reconfiguration import Reconfiguration
from flexmpi.runtime.job.roster import RankId
from flexmpi.runtime.supervisor.execution import Job
from flexmpi.runtime.supervisor.handovers import Handovers
from tests.runtime.supervisor.test_handing_over import ScriptedJob


def test_a_successor_that_waits_has_gone_before_what_comes_next() -> None:
    job = ScriptedJob()
    handovers = Handovers(cast(Job, job))

    def all_are_ready() -> list[Callable[[], Any]]:
        planned = RowsPlanned(1, (), (), ("a",), (), (), stood_s=0.0, move_s=0.0, moved_bytes=0)
        member, new = job.roster.members[0], [RankId(1, 0), RankId(1, 1)]

        def tell(what: str, *told: Any) -> Callable[[], None]:
            return lambda: getattr(handovers.under_way, what)(*told)

        ready = [tell("heard", rank, ReadyAtLoop(0, 7, (), ())) for rank in new]
        return [*(tell("opened", rank) for rank in new), tell("heard", member, planned), *ready]

    job.script = all_are_ready()
    asyncio.run(handovers.prepare(Reconfiguration(1, "a test", {}, ready={"a": 1})))
    assert (job.roster.prepared, job.killed) == ({1}, [])

    def it_has_ended() -> None:
        assert job.killed == [1]
        job.roster.remove(1)

    job.script = [it_has_ended]
    asyncio.run(handovers.prepare(Reconfiguration(2, "a test", {}, ready={"a": 0})))
    assert not job.script, "it was waited for"
    assert handovers.all == []
