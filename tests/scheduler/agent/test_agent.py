"""The agent over real sockets: who may register, who is answered, and what it does while nothing happens."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from flexmpi.protocol.messages import Rejected, Unknown
from flexmpi.scheduler.ordering.journal import Entry, Journal
from tests.scheduler.agent_world import a_world, play
from tests.scheduler.scripted_job import LIMIT_S


def test_a_job_is_registered_by_its_owner_only_and_only_if_the_manager_knows_it(tmp_path: Path) -> None:
    async def test() -> None:
        async with a_world(tmp_path) as world:
            job_id = world.submit()
            elastic = world.job(job_id)
            await elastic.register(job_id=77)
            assert "no running job 77" in (await elastic.heard(Rejected)).why
            await elastic.register(job_id=None)
            assert "runs in no job" in (await elastic.heard(Rejected)).why
            await elastic.register(uid=os.getuid() + 1)
            assert "is not uid" in (await elastic.heard(Rejected)).why
            stolen = world.job(job_id).connection.credential()
            await elastic.register(credential=stolen)
            assert "another connection" in (await elastic.heard(Rejected)).why
            await elastic.joined()
            twin = world.job(job_id, key="twin")
            await twin.register()
            assert "registered as job1 already" in (await twin.heard(Rejected)).why

    play(test)


def test_the_agent_shows_that_it_lives_between_ticks_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flexmpi.scheduler.agent.agent.LONGEST_SILENCE_S", 0.01)

    async def test() -> None:
        signs = asyncio.Semaphore(0)
        async with a_world(tmp_path, alive=signs.release, tick_s=3600.0), asyncio.timeout(LIMIT_S):
            for _ in range(3):
                await signs.acquire()

    play(test)


def test_old_decisions_are_removed_while_the_agent_works(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "journal.sqlite") as journal:
        for name, at in (("old", time.time() - 3 * 24 * 3600), ("new", time.time() - 3600)):
            journal.record(Entry(id=name, decided_at=at, what=name, cause="", outcome="done", epoch=1))

    async def test() -> None:
        async with a_world(tmp_path, keep_days=2.0) as world:
            await world.until(
                lambda: [row.id for row in world.journal.history()] == ["new"], what="the old one is gone"
            )

    play(test)


def test_bytes_that_are_no_message_are_answered_and_change_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        async with a_world(tmp_path) as world:
            person = world.person()
            for data in (b"", b"{", b'{"version": 1, "kind": "expand"}', b'{"version": 9, "kind": "jobs"}'):
                await person.connection.socket.send(data)
                assert isinstance(await person.reply(), Rejected)

    play(test)


def test_what_one_peer_says_wrongly_again_and_again_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with a_world(tmp_path) as world:
            person = world.person()
            for data in (b"{", b"{", b'{"version": 9, "kind": "jobs"}', b"{"):
                await person.connection.socket.send(data)
                await person.reply()

    play(test)
    assert sum("a message is refused" in record.getMessage() for record in caplog.records) == 2


def test_a_job_that_the_agent_does_not_know_is_asked_to_register(tmp_path: Path) -> None:
    async def test() -> None:
        async with a_world(tmp_path) as world:
            elastic = world.job(world.submit())
            await elastic.sample()
            await elastic.heard(Unknown)
            await elastic.joined()
            await elastic.sample()
            await elastic.end()
            await world.until(lambda: not world.agent.ledger.members, what="the job is forgotten")

    play(test)
