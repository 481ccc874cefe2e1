"""A job whose agent is stopped: what it says of an agent that takes connections and answers nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import zmq

from flexmpi.runtime.agent import conversation, link
from flexmpi.trust.contact import Contact
from tests.agents import ScriptedAgent, stopped_agent
from tests.runtime.agent.test_conversation import FACTS

HANDSHAKE_MS = 100
LIMIT_S = 20.0
dial = Contact.dial


def hurried(contact: Contact, context: Any, *, prepare: Callable[[Any], None]) -> Any:
    """Dial with a handshake that is given up soon."""

    def prepared(socket: Any) -> None:
        socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        prepare(socket)

    return dial(contact, context, prepare=prepared)


def first_words_on(folder: Path) -> str:
    """Return what a job warns of first, with the agent that the folder tells of."""

    async def talk() -> str:
        warned: asyncio.Queue[str] = asyncio.Queue()
        job: Any = SimpleNamespace(
            held=lambda: ("n1",),
            roster=SimpleNamespace(occupied=lambda: {"n1": 1}),
            warn=warned.put_nowait,
            log=SimpleNamespace(write=lambda *_, **__: None),
        )
        line = link.AgentLink(job, folder, FACTS)
        line.start()
        try:
            return await asyncio.wait_for(warned.get(), LIMIT_S)
        finally:
            await line.close(status=0, why=None)

    return asyncio.run(talk())


def test_an_agent_that_is_stopped_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # More than three handshakes fit into the time that nothing is said.
    monkeypatch.setattr(Contact, "dial", hurried)
    monkeypatch.setattr(conversation, "PATIENCE_S", 3.0)
    with stopped_agent(tmp_path) as port:
        words = first_words_on(tmp_path)
    assert words == f"agent at tcp://127.0.0.1:{port}: {conversation.SILENT}"


def test_one_that_answers_with_another_key_does_not_prove_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Contact, "dial", hurried)
    with ScriptedAgent(tmp_path / "a") as other, ScriptedAgent(tmp_path / "b"):
        (tmp_path / "b" / "agent.json").write_text((other.folder / "agent.json").read_text())
        assert "does not prove that it has the key" in first_words_on(tmp_path / "b")
