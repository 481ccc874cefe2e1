"""The agent over real sockets, with the local manager's real processes as jobs and their supervisors played by the test."""

from __future__ import annotations

import asyncio
import os
import pwd
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flexmpi.configuration import Node
from flexmpi.errors import ConfigurationError
from flexmpi.protocol.auth import Identity, SharedKey
from flexmpi.protocol.contact import Card, publish
from flexmpi.protocol.keys import agent_keys, local_key
from flexmpi.protocol.messages import Done, Failed, Registered, Rejected, Resize, Stop, Unknown, Withdraw
from flexmpi.protocol.replies import (
    Accepted,
    Explanation,
    HistoryList,
    JobList,
    NodeList,
    PowerDraw,
    Settings,
)
from flexmpi.protocol.requests import (
    Expand,
    Explain,
    History,
    Jobs,
    Nodes,
    SetMode,
    SetPolicy,
    SetPowercap,
    Shrink,
    Submit,
)
from flexmpi.protocol.requests import Stop as StopRequest
from flexmpi.protocol.slurm_commands import Submission
from flexmpi.scheduler.agent import Agent
from flexmpi.scheduler.elastic import Decision, View
from flexmpi.scheduler.journal import Entry, Journal
from flexmpi.scheduler.managers.local import LocalManager
from flexmpi.scheduler.policies import POLICIES
from flexmpi.scheduler.server import Server
from flexmpi.scheduler.settings import AgentSettings
from flexmpi.scheduler.state import Snapshot
from tests.scheduler.scripted_job import LIMIT_S, Person, ScriptedJob

NODES = tuple(Node(f"node{number}", 4, alias="node") for number in range(6))
WAITS = "#!/bin/sh\nexec sleep 600\n"


class World:
    """An agent that can be ended and started again, its manager, and who speaks to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manager = LocalManager(NODES, grace_s=0.1)
        self.keys = agent_keys(folder)
        self.authority = local_key(folder, make=True)
        self._callers: list[Any] = []
        self._running: asyncio.Task[None] | None = None

    async def start(
        self, *, sections: dict[str, Any] | None = None, alive: Callable[[], None] = lambda: None, **agent: object
    ) -> Agent:
        settings = AgentSettings.model_validate(
            {
                "agent": {"tick_s": 0.05, "mode": "on", **agent},
                "hysteresis": {"cool_down_s": 0.0, "settle_s": 0.0, "retry_s": 1000.0},
                # Nothing is said twice on a busy machine.
                "orders": {"acknowledge_s": 2 * LIMIT_S},
                **(sections or {}),
            }
        )
        self.journal = Journal.open(self.folder / "journal.sqlite")
        self.server = Server("tcp://127.0.0.1:0", self.keys)
        made = Agent(
            settings,
            manager=self.manager,
            journal=self.journal,
            server=self.server,
            authority=self.authority,
            clock=time.time,
        )
        is_ready = asyncio.Event()
        self._running = asyncio.create_task(made.run(ready=is_ready.set, alive=alive))
        readiness = asyncio.create_task(is_ready.wait())
        done, _ = await asyncio.wait([self._running, readiness], timeout=LIMIT_S, return_when=asyncio.FIRST_COMPLETED)
        if self._running in done:
            readiness.cancel()
            self._running.result()
        assert done, "the agent is not ready"
        publish(self.folder, Card(address=f"tcp://127.0.0.1:{self.server.port}", authority="local"))
        self.agent = made
        return made

    async def kill(self) -> None:
        """End the agent at once: nothing is finished, as after kill -9."""
        assert self._running is not None
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        self.server.__exit__(None, None, None)
        self.journal.close()

    def submit(self, nodes: int = 1) -> int:
        return self.manager.submit(Submission(script=WAITS, nodes=nodes, output="/dev/null"))

    def job(self, job_id: int, nodes: list[str] | None = None, **range_of: Any) -> ScriptedJob:
        held = nodes or list(self.manager.snapshot().job_of[job_id].nodes)
        made = ScriptedJob(self.folder, job_id=job_id, nodes=held, **range_of)
        self._callers.append(made)
        return made

    def person(self) -> Person:
        made = Person(self.folder)
        self._callers.append(made)
        return made

    async def until(self, condition: Callable[[], bool], *, what: str) -> None:
        """Wait for what a tick of the agent brings about."""
        try:
            async with asyncio.timeout(LIMIT_S):
                while not condition():
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"not within {LIMIT_S:g} s: {what}") from None

    async def close(self) -> None:
        for caller in self._callers:
            caller.close()
        await self.kill()
        await asyncio.to_thread(self.manager.close)


@asynccontextmanager
async def a_world(folder: Path, **start: Any) -> AsyncIterator[World]:
    world = World(folder)
    await world.start(**start)
    try:
        yield world
    finally:
        await world.close()


def play(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 3 * LIMIT_S))


def test_a_lone_job_grows_shrinks_for_one_that_waits_and_grows_back(tmp_path: Path) -> None:
    async def test() -> None:
        async with a_world(tmp_path, policy="fill") as world:
            elastic = world.job(world.submit())
            await elastic.joined()
            grown = await elastic.resized()
            assert (len(grown.add), grown.leave) == (5, ())
            assert "nobody waits" in grown.cause
            rigid = world.submit(nodes=3)
            shrunk = await elastic.resized()
            assert (shrunk.add, len(shrunk.leave)) == ((), 3)
            assert f"job {rigid} can start" in shrunk.cause
            await world.until(
                lambda: len(world.manager.snapshot().job_of[rigid].nodes) == 3, what="the rigid job has its nodes"
            )
            world.manager.cancel(rigid)
            back = await elastic.resized()
            assert set(back.add) == set(shrunk.leave)

    play(test)


def test_growth_that_does_not_come_about_is_taken_back_for_a_job_that_waits(tmp_path: Path) -> None:
    async def test() -> None:
        async with a_world(tmp_path, policy="fill", sections={"orders": {"acknowledge_s": 0.2}}) as world:
            elastic, person = world.job(world.submit()), world.person()
            await elastic.joined()
            growth = await elastic.heard(Resize)
            await elastic.taken(growth)
            rigid = world.submit(nodes=5)
            withdrawn = await elastic.until(Withdraw)
            assert (withdrawn.id, withdrawn.why) == (growth.id, f"taken back: job {rigid} can start then")
            # It is said again until the job has answered.
            assert await elastic.until(Withdraw) == withdrawn
            await elastic.give_up(growth, withdrawn.why)
            await world.until(
                lambda: len(world.manager.snapshot().job_of[rigid].nodes) == 5, what="the rigid job has its nodes"
            )
            history = await person.ask(History)
            assert isinstance(history, HistoryList)
            assert [(entry.outcome, entry.why) for entry in history.entries] == [("failed", withdrawn.why)]
            # It was no failure: there is no back-off, which is 1000 s here.
            world.manager.cancel(rigid)
            assert len((await elastic.until(Resize)).add) == 5

    play(test)


def test_people_are_answered_while_the_agent_decides_and_what_they_do_meanwhile_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(view: View) -> tuple[Decision, ...]:
        decisions = POLICIES["fill"](view)
        if decisions:
            begun.set()
            assert go_on.wait(LIMIT_S)
        return decisions

    monkeypatch.setitem(POLICIES, "triggered", slow)  # type: ignore[arg-type]

    async def test() -> None:
        async with a_world(tmp_path) as world:
            try:
                elastic, person = world.job(world.submit()), world.person()
                await elastic.joined()
                await world.until(begun.is_set, what="the agent decides")
                assert isinstance(await person.ask(Jobs), JobList)
                assert isinstance(await person.ask(Expand, job="1", nodes=("node5",)), Accepted)
            finally:
                go_on.set()
            # Of the two the person's order stands: the other would give the same node once more.
            command = await elastic.resized()
            assert command.add == ("node5",) and "expand by" in command.cause
            assert len((await elastic.resized()).add) == 4

    play(test)


def test_two_jobs_get_equal_shares(tmp_path: Path) -> None:
    async def test() -> None:
        async with a_world(tmp_path, policy="fair") as world:
            first = world.job(world.submit())
            await first.joined()
            await first.resized()
            assert len(first.nodes) == 6
            # It must shrink before the second can start at all.
            shrunk = asyncio.create_task(first.obey())
            second = world.job(await started(world, world.submit()))
            await second.joined()
            obeying = asyncio.create_task(second.obey())
            await world.until(lambda: (len(first.nodes), len(second.nodes)) == (3, 3), what="equal shares")
            shrunk.cancel()
            obeying.cancel()

    play(test)


async def started(world: World, job_id: int) -> int:
    await world.until(lambda: bool(world.manager.snapshot().job_of[job_id].nodes), what=f"job {job_id} has started")
    return job_id


def test_people_expand_and_shrink_and_hear_what_it_cost(tmp_path: Path) -> None:
    async def test() -> None:
        async with a_world(tmp_path) as world:
            elastic, person = world.job(world.submit()), world.person()
            await elastic.joined()
            tried = await person.ask(Expand, job="1", count=2, dry_run=True)
            assert isinstance(tried, Accepted) and tried.dry_run
            assert tried.what == "job 1: add 2 nodes (node[1-2])"
            accepted = await person.ask(Expand, job="1", nodes=("node3",))
            assert isinstance(accepted, Accepted) and "node3" in accepted.what
            command = await elastic.resized()
            assert command.add == ("node3",) and command.cause == f"expand by {pwd.getpwuid(os.getuid()).pw_name}"
            done = await person.reply()
            assert isinstance(done, Done) and done.cost is not None and done.cost.stall_s == 0.015
            assert [one.node for one in done.nodes] == ["node0", "node3"]
            refused = await person.ask(Shrink, job="1", nodes=("node0",))
            assert isinstance(refused, Rejected) and "cannot leave" in refused.why
            assert isinstance(await person.ask(Shrink, job="1"), Accepted)
            left = await elastic.heard(Resize)
            assert left.leave == ("node3",)
            await elastic.taken(left)
            busy = await world.person().ask(Expand, job="1")
            assert isinstance(busy, Rejected) and "under way" in busy.why
            tried = await world.person().ask(StopRequest, job="1", dry_run=True)
            assert isinstance(tried, Accepted)
            await elastic.give_up(left, "the ranks hang")
            failed = await person.reply()
            assert isinstance(failed, Failed) and failed.why == "the ranks hang"
            assert [one.node for one in failed.nodes] == ["node0", "node3"]
            history = await person.ask(History, job="1")
            assert isinstance(history, HistoryList)
            assert [entry.outcome for entry in history.entries] == ["done", "failed"]

    play(test)


def test_lists_show_jobs_with_all_their_nodes_and_who_has_each_node(tmp_path: Path) -> None:
    async def test() -> None:
        async with a_world(tmp_path, policy="fill") as world:
            elastic, person = world.job(world.submit(), high=3), world.person()
            await elastic.joined()
            await elastic.resized()
            await world.until(lambda: not world.agent.ledger.orders, what="no order is open")
            listed = await person.ask(Jobs)
            assert isinstance(listed, JobList)
            (row,) = listed.jobs
            assert (row.job, row.nodes, row.minimum_nodes, row.maximum_nodes) == (
                "1",
                ("node0", "node1", "node2"),
                1,
                3,
            )
            assert row.elastic and row.ranks == 3
            nodes = await person.ask(Nodes)
            assert isinstance(nodes, NodeList)
            assert [each.job for each in nodes.nodes] == ["1", "1", "1", None, None, None]

    play(test)


def test_observe_records_once_and_touches_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        async with a_world(tmp_path, policy="fill", mode="observe") as world:
            elastic, person = world.job(world.submit()), world.person()
            await elastic.joined()
            await world.until(lambda: bool(world.journal.history()), what="a decision is recorded")
            seen = world.agent.snapshot.taken_at
            await world.until(lambda: world.agent.snapshot.taken_at > seen, what="another tick")
            (entry,) = world.journal.history()
            assert (entry.outcome, entry.job) == ("observed", "1") and "add 5 nodes" in entry.what
            refused = await person.ask(Expand, job="1")
            assert isinstance(refused, Rejected) and "observe" in refused.why
            tried = await person.ask(StopRequest, job="1", dry_run=True)
            assert isinstance(tried, Accepted) and tried.what == "job 1: stop"
            assert isinstance(await person.ask(SetMode, mode="on"), Accepted)
            assert isinstance(await person.reply(), Done)
            assert len((await elastic.resized()).add) == 5

    play(test)


def test_off_gives_everything_extra_back_and_drain_gives_out_nothing_more(tmp_path: Path) -> None:
    async def test() -> None:
        async with a_world(tmp_path, policy="fill") as world:
            elastic, person = world.job(world.submit(), low=1, high=3), world.person()
            await elastic.joined()
            await elastic.resized()
            await person.ask(SetMode, mode="off")
            assert set((await elastic.resized()).leave) == {"node1", "node2"}
            await person.reply()
            await person.ask(SetMode, mode="drain")
            await person.reply()
            refused = await person.ask(Expand, job="1")
            assert isinstance(refused, Rejected) and "drain" in refused.why
            settings = await person.ask(SetPolicy)
            assert settings == Settings(policy="fill", mode="drain")

    play(test)


class Hiding(LocalManager):
    """A manager that, like a Slurm with PrivateData, does not show this user all jobs."""

    def snapshot(self) -> Snapshot:
        return replace(super().snapshot(), hidden=frozenset({"jobs"}))


def test_where_jobs_are_hidden_policies_that_decide_by_the_queue_refuse_and_name_the_right_needed(
    tmp_path: Path,
) -> None:
    async def test() -> None:
        world = World(tmp_path)
        world.manager = Hiding(NODES, grace_s=0.1)
        with pytest.raises(ConfigurationError, match="adminlevel=operator"):
            await world.start(policy="fill")
        await world.kill()
        await world.start(policy="triggered")
        refused = await world.person().ask(SetPolicy, name="fill")
        assert isinstance(refused, Rejected) and "PrivateData" in refused.why
        assert world.agent.policy == "triggered"
        await world.close()

    play(test)


def test_mode_and_policy_are_remembered_by_the_next_agent(tmp_path: Path) -> None:
    async def test() -> None:
        async with a_world(tmp_path) as world:
            person = world.person()
            await person.ask(SetPolicy, name="fair")
            await person.reply()
            refused = await person.ask(SetPolicy, name="greedy")
            assert isinstance(refused, Rejected) and "triggered, fill, fair" in refused.why
            await world.kill()
            assert (await world.start()).policy == "fair"

    play(test)


WATTS = {"power": {"classes": ({"nodes": "node[0-5]", "idle_w": 50.0, "dynamic_w": 100.0},)}}


def test_a_power_cap_makes_jobs_shrink_at_once_holds_them_there_and_is_remembered(tmp_path: Path) -> None:
    async def test() -> None:
        async with a_world(tmp_path, policy="fill", sections=WATTS) as world:
            person, elastic = world.person(), world.job(world.submit())
            await elastic.joined()
            given = await elastic.heard(Resize)
            # What a job has been given counts before it is there, and the same when it is.
            draw = PowerDraw(cap_w=None, drawn_w=900.0, others_w=300.0, declared=6, undeclared=0)
            assert await person.ask(SetPowercap) == draw
            await elastic.taken(given)
            await elastic.carry_out(given)
            assert len(elastic.nodes) == 6
            await world.until(lambda: not world.agent.ledger.orders, what="the order is over")
            assert await person.ask(SetPowercap) == draw
            # Six nodes draw 50 W each in any case, so 650 W are enough for three to be busy.
            await person.ask(SetPowercap, cap_w=650.0)
            assert isinstance(await person.reply(), Done)
            shrunk = await elastic.resized()
            assert len(shrunk.leave) == 3
            await world.until(lambda: len(world.agent.view().free) == 3, what="the nodes are free")
            refused = await person.ask(Expand, job=str(elastic.job_id))
            assert isinstance(refused, Rejected) and "the power cap of 650 W leaves 50 W" in refused.why
            await world.kill()
            assert (await world.start(policy="fill", sections=WATTS)).power.cap_w == 650.0

    play(test)


def test_a_cap_without_declared_watts_is_refused(tmp_path: Path) -> None:
    async def test() -> None:
        async with a_world(tmp_path) as world:
            refused = await world.person().ask(SetPowercap, cap_w=100.0)
            assert isinstance(refused, Rejected) and "no watts of nodes are declared" in refused.why

    play(test)


def test_a_job_is_given_nodes_by_what_it_has_measured_and_the_agent_explains_why(tmp_path: Path) -> None:
    async def test() -> None:
        async with a_world(tmp_path, policy="throughput", sections=WATTS) as world:
            person, elastic = world.person(), world.job(world.submit(), high=4)
            await elastic.joined()
            for _ in range(4):
                await elastic.sample()
            samples = world.agent.ledger.members
            await world.until(lambda: samples[elastic.key].samples.count == 2, what="the samples have come")
            explained = await person.ask(Explain, job=str(elastic.job_id))
            assert isinstance(explained, Explanation)
            assert (explained.samples, explained.reason) == (2, "2 of 3 samples measured: it keeps its size")
            await elastic.sample()
            grown = await elastic.resized()
            assert len(grown.add) == 3
            assert "is its part of the best throughput of all jobs together" in grown.cause
            await world.until(lambda: not world.agent.ledger.orders, what="the agent knows that it is done")
            explained = await person.ask(Explain, job=str(elastic.job_id))
            assert isinstance(explained, Explanation)
            assert explained.sampled_nodes == (1,)
            assert [row.nodes for row in explained.alternatives] == [1, 2, 3, 4]
            times = [row.iteration_s.value for row in explained.alternatives]
            assert times == pytest.approx([0.05, 0.025, 0.05 / 3, 0.0125], rel=0.02)
            assert [row.watts for row in explained.alternatives] == [150.0, 300.0, 450.0, 600.0]
            assert [row.is_chosen for row in explained.alternatives] == [False, False, False, True]
            assert explained.changes == 1 and explained.stall_s == 0.015

    play(test)


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


def test_a_job_can_be_stopped_in_any_mode_and_with_an_order_under_way(tmp_path: Path) -> None:
    async def test() -> None:
        async with a_world(tmp_path, policy="fill") as world:
            elastic, person = world.job(world.submit()), world.person()
            await elastic.joined()
            growth = await elastic.heard(Resize)
            await elastic.taken(growth)
            await person.ask(SetMode, mode="observe")
            assert isinstance(await person.reply(), Done)
            assert isinstance(await person.ask(StopRequest, job="1"), Accepted)
            stop = await elastic.heard(Stop)
            twice = await world.person().ask(StopRequest, job="1")
            assert isinstance(twice, Rejected) and "job 1: stop" in twice.why
            await elastic.give_up(growth, "the application ended first")
            await elastic.send(Done(id=stop.id))
            assert isinstance(await person.reply(), Done)

    play(test)


def test_a_node_that_was_left_a_moment_ago_is_not_shown_as_the_jobs(tmp_path: Path) -> None:
    async def test() -> None:
        async with a_world(tmp_path, tick_s=3600.0) as world:  # the first look is the only one
            elastic, person = world.job(world.submit(nodes=2)), world.person()
            await elastic.joined()
            assert isinstance(await person.ask(Shrink, job="1"), Accepted)
            await elastic.resized()
            assert isinstance(await person.reply(), Done)
            nodes = await person.ask(Nodes)
            assert isinstance(nodes, NodeList)
            assert [(each.job, each.why) for each in nodes.nodes[:2]] == [("1", None), (None, "job 1 has left it")]
            jobs = await person.ask(Jobs)
            assert isinstance(jobs, JobList) and jobs.jobs[0].nodes == ("node0",)

    play(test)


def test_the_agent_shows_that_it_lives_between_ticks_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flexmpi.scheduler.agent.LONGEST_SILENCE_S", 0.01)

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


def test_a_third_user_changes_nothing_an_operator_does(tmp_path: Path) -> None:
    async def test() -> None:
        async with a_world(tmp_path, operators=(4242,)) as world:
            elastic, person = world.job(world.submit()), world.person()
            await elastic.joined()
            key = world.authority.key
            for uid, allowed in ((4343, False), (4242, True)):
                # The test's authority says that somebody else has made the credential; munge's own test holds that it proves it.
                world.agent._reception._authority = SharedKey(key, Identity(uid, uid))
                answer = await person.ask(Expand, job="1")
                assert isinstance(answer, Accepted) == allowed, answer
                if not allowed:
                    assert isinstance(answer, Rejected) and "uid 4343 may not expand" in answer.why

    play(test)


def test_bytes_that_are_no_message_are_answered_and_change_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        async with a_world(tmp_path) as world:
            person = world.person()
            for data in (b"", b"{", b'{"version": 1, "kind": "expand"}', b'{"version": 9, "kind": "jobs"}'):
                await person.connection.socket.send(data)
                assert isinstance(await person.reply(), Rejected)

    play(test)


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


def test_submitting_runs_a_job_of_the_local_manager(tmp_path: Path) -> None:
    async def test() -> None:
        async with a_world(tmp_path) as world:
            person = world.person()
            accepted = await person.ask(Submit, script=WAITS, nodes=2, output="/dev/null")
            assert isinstance(accepted, Accepted) and accepted.job == "1"
            assert isinstance(await person.reply(), Done)
            assert len(world.manager.snapshot().job_of[1].nodes) == 2

    play(test)


@pytest.mark.parametrize("stage", ["decided", "taken", "carried out"])
def test_an_agent_killed_in_the_middle_of_an_order_grants_no_node_twice_and_loses_none(
    tmp_path: Path, stage: str
) -> None:
    async def test() -> None:
        async with a_world(tmp_path) as world:
            elastic, person = world.job(world.submit()), world.person()
            await elastic.joined()
            await person.ask(Expand, job="1", nodes=("node3",))
            command = await elastic.heard(Resize)
            if stage != "decided":
                await elastic.taken(command)
                await world.until(
                    lambda: [order.stage.value for order in world.agent.ledger.orders.values()] == ["taken"],
                    what="the order is taken",
                )
            await world.kill()
            if stage == "carried out":
                elastic.nodes.append("node3")
            await world.start()
            (order,) = world.agent.ledger.orders.values()
            assert order.inherited and order.joining == ("node3",)
            assert "node3" not in world.agent.view().free
            again = world.job(1, nodes=elastic.nodes)
            again.epoch, again.unfinished = elastic.epoch, (command.id,) if stage == "taken" else ()
            registered = await again.joined()
            assert isinstance(registered, Registered) and registered.epoch > command.epoch
            if stage == "taken":
                await again.carry_out(command)
            else:
                resent = await again.heard(Resize)
                assert (resent.id, resent.epoch) == (command.id, command.epoch)
                # A real job answers so by its memory of commands and its fence.
                if stage == "carried out":
                    await again.carry_out(Resize(id=command.id, epoch=command.epoch, cause="", leave=("node9",)))
                else:
                    await again.give_up(command, "the epoch is an older one")
            await world.until(lambda: not world.agent.ledger.orders, what="the order is over")
            (entry,) = world.journal.history()
            assert entry.outcome == ("failed" if stage == "decided" else "done")

    play(test)


def test_a_job_that_was_submitted_is_there_for_who_looks_next(tmp_path: Path) -> None:
    async def test() -> None:
        async with a_world(tmp_path) as world:
            job_id = world.agent.submit(Submission(script=WAITS, output="/dev/null"))
            assert job_id in world.agent.snapshot.job_of

    play(test)
