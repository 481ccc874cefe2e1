"""What a person is told of an agent that is not the one whose key is in the folder."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from flexmpi.runtime.agent import conversation
from flexmpi.runtime.agent.conversation import Facts
from flexmpi.runtime.agent.link import AgentLink
from flexmpi.trust.contact import Card, publish
from flexmpi.trust.keys import CurveKeys
from tests.agents import ScriptedAgent

LIMIT_S = 30.0
FACTS = Facts(
    job_key="1",
    job_id=None,
    array_job_id=None,
    array_task_id=None,
    name="job",
    uid=os.getuid(),
    user="user",
    minimum_nodes=1,
    maximum_nodes=1,
    processes_per_node=1,
    udp=None,
)


class Warned:
    """What a link asks of a job that only listens to its warnings."""

    log = roster = SimpleNamespace(write=lambda *_, **__: None, occupied=dict)

    def __init__(self) -> None:
        self.said: list[str] = []
        self.said_twice = asyncio.Event()

    def held(self) -> list[str]:
        return ["n1"]

    def warn(self, what: str) -> None:
        self.said.append(what)
        if len(self.said) == 2:
            self.said_twice.set()


def test_an_agent_whose_keys_were_replaced_is_called_by_its_address_while_nobody_is_connected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "agent"
    monkeypatch.setattr(conversation, "PATIENCE_S", 1.0)

    async def warnings() -> list[str]:
        job = Warned()
        link = AgentLink(job, folder, FACTS)
        link.start()
        await asyncio.wait_for(job.said_twice.wait(), LIMIT_S)
        await link.close(status=0, why=None)
        return job.said

    with ScriptedAgent(folder, keys=CurveKeys.fresh()) as agent:
        ScriptedAgent(folder).close()  # whose key is in the folder from now on
        address = f"tcp://127.0.0.1:{agent.port}"
        publish(folder, Card(address=address, authority="local"))
        silent, unproved = sorted(asyncio.run(warnings()))
    assert unproved.startswith(f"whoever listens at {address} does not prove")
    assert silent == f"agent at {address}: it does not answer; the job runs on without it"
