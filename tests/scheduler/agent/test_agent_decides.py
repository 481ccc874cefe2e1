"""What the agent has jobs do by itself, over real sockets: policies, modes and the power cap."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from flexmpi.cluster.state import Snapshot
from flexmpi.errors import ConfigurationError
from flexmpi.protocol.messages import Done, NodeEnergy, Rejected, Resize, Withdraw
from flexmpi.protocol.replies import (
    Accepted,
    Explanation,
    HistoryList,
    NodeList,
    PowerDraw,
    Settings,
)
from flexmpi.protocol.requests import (
    Expand,
    Explain,
    History,
    Nodes,
    SetMode,
    SetPolicy,
    SetPowercap,
)
from flexmpi.protocol.requests import Stop as StopRequest
from flexmpi.scheduler.managers.local import LocalManager
from tests.scheduler.agent_world import NODES, WATTS, World, a_world, play, started


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
        assert await world.person().ask(SetPolicy, name="fill", dry_run=True) == refused
        assert world.agent.policy == "triggered"
        unseen = world.job(7, ["node0"])
        await unseen.register()
        assert "does not see job 7: PrivateData" in (await unseen.heard(Rejected)).why
        await world.close()

    play(test)


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


def spends(node: str, watts: float, *, busy_cores: float) -> NodeEnergy:
    return NodeEnergy(node=node, seconds=2.0, joules=2 * watts, processor_s=2 * busy_cores)


def test_the_watts_that_jobs_measure_on_their_own_nodes_replace_those_of_the_class_where_that_is_wanted(
    tmp_path: Path,
) -> None:
    async def test() -> None:
        measured = {"power": {**WATTS["power"], "measured": True}}
        async with a_world(tmp_path, policy="triggered", sections=measured) as world:
            person, elastic = world.person(), world.job(world.submit(2))
            await elastic.joined()
            first, second = elastic.nodes
            (foreign, *_) = {node.name for node in NODES} - {first, second}
            member = world.agent.ledger.members[elastic.key]
            draw = PowerDraw(cap_w=None, drawn_w=500.0, others_w=300.0, declared=6, undeclared=0)
            for cores in (1.0, 4.0, 2.0):
                assert await person.ask(SetPowercap) == draw
                await elastic.sample(
                    spends(foreign, 900.0, busy_cores=cores), spends(first, 20 + 5 * cores, busy_cores=cores)
                )
                await world.until(
                    lambda: (latest := member.latest) is not None and latest.iteration == elastic.iteration,
                    what="the sample has come",
                )
                await world.until(lambda: not member.energy, what="its readings are taken in")
            shown = await person.ask(SetPowercap)
            # Of each node 20 W idle, and of the two that a job has 20 W more for 4 busy cores.
            assert isinstance(shown, PowerDraw)
            assert (shown.declared, shown.measured, shown.undeclared) == (0, 6, 0)
            assert shown.drawn_w == pytest.approx(6 * 20 + 2 * 20, rel=0.05)
            rows = await person.ask(Nodes)
            assert isinstance(rows, NodeList)
            assert {row.watts_source for row in rows.nodes} == {"measured"}
            await person.ask(SetPowercap, cap_w=150.0)
            assert isinstance(await person.reply(), Done)
            assert "may draw 150 W (measured)" in (await elastic.resized()).cause

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
            assert {row.watts_source for row in explained.alternatives} == {"declared"}
            assert [row.is_chosen for row in explained.alternatives] == [False, False, False, True]
            assert explained.changes == 1 and explained.stall_s == 0.015

    play(test)
