"""What people want of a job that has an order under way: each in its turn, none in the way of another."""

from __future__ import annotations

from pathlib import Path

from flexmpi.protocol.messages import Balance, Done, Failed, Rejected, Resize, Withdraw
from flexmpi.protocol.messages import Stop as StopCommand
from flexmpi.protocol.replies import Accepted, HistoryList, JobList
from flexmpi.protocol.requests import Balance as BalanceRequest
from flexmpi.protocol.requests import Expand, History, Jobs, SetMode, Shrink, Stop
from flexmpi.scheduler.requests.turns import LONGEST_LINE
from tests.scheduler.agent_world import World, a_world, play
from tests.scheduler.scripted_job import Person, ScriptedJob


async def growing(world: World, nodes: tuple[str, ...]) -> tuple[ScriptedJob, Person, Resize]:
    """Return a job that waits for nodes somebody gave it, and that person."""
    elastic, person = world.job(world.submit()), world.person()
    await elastic.joined()
    assert isinstance(await person.ask(Expand, job="1", nodes=nodes), Accepted)
    growth = await elastic.heard(Resize)
    await elastic.taken(growth)
    return elastic, person, growth


def test_orders_are_carried_out_in_the_order_in_which_they_came(tmp_path: Path) -> None:
    async def test() -> None:
        async with a_world(tmp_path) as world:
            elastic, person, growth = await growing(world, ("node1",))
            # A script that moves a job from one node to another, and does not wait in between.
            other = world.person()
            tried = await other.ask(Expand, job="1", nodes=("node2",), dry_run=True)
            assert isinstance(tried, Accepted) and tried.after == "job 1: add 1 node (node1)"
            accepted = await other.ask(Expand, job="1", nodes=("node2",))
            assert isinstance(accepted, Accepted) and accepted.what == "job 1: add 1 node (node2)"
            accepted = await other.ask(Shrink, job="1", nodes=("node1",))
            assert isinstance(accepted, Accepted) and accepted.after == "job 1: add 1 node (node2)"
            assert isinstance(await other.ask(BalanceRequest, job="1"), Accepted)
            jobs = await person.ask(Jobs)
            assert isinstance(jobs, JobList)
            assert jobs.jobs[0].why == "add 1 node (node1): under way, 3 more to come"
            await elastic.carry_out(growth)
            assert isinstance(await person.reply(), Done)
            second, third = await elastic.resized(), await elastic.resized()
            assert (second.add, third.leave) == (("node2",), ("node1",))
            assert growth.epoch < second.epoch < third.epoch
            balance = await elastic.heard(Balance)
            await elastic.send(Done(id=balance.id, nodes=elastic.held))
            outcomes = [await other.reply() for _ in range(3)]
            assert [reply.kind for reply in outcomes] == ["done"] * 3
            last = outcomes[-1]
            assert isinstance(last, Done) and [one.node for one in last.nodes] == ["node0", "node2"]
            history = await person.ask(History, job="1")
            assert isinstance(history, HistoryList)
            assert [entry.outcome for entry in history.entries] == ["done"] * 4

    play(test)


def test_growth_that_waits_for_nodes_is_taken_back_for_a_shrink_that_leaves_them_all(tmp_path: Path) -> None:
    async def test() -> None:
        async with a_world(tmp_path) as world:
            elastic, person, growth = await growing(world, ("node1", "node2"))
            assert isinstance(await person.ask(Shrink, job="1", count=2, dry_run=True), Accepted)
            assert isinstance(await person.ask(Shrink, job="1", count=2), Accepted)
            withdrawn = await elastic.heard(Withdraw)
            assert withdrawn.id == growth.id and withdrawn.why.startswith("taken back: shrink by ")
            await elastic.give_up(growth, withdrawn.why)
            failed, done = await person.reply(), await person.reply()
            assert isinstance(failed, Failed) and failed.why == withdrawn.why
            # There is nothing left to leave, so nothing is ordered.
            assert isinstance(done, Done) and [one.node for one in done.nodes] == ["node0"]
            assert not world.agent.ledger.orders
            assert isinstance(await person.ask(Expand, job="1"), Accepted)
            assert len((await elastic.resized()).add) == 1

    play(test)


def test_growth_that_the_program_is_joining_already_goes_on_and_is_left_then(tmp_path: Path) -> None:
    async def test() -> None:
        async with a_world(tmp_path) as world:
            elastic, person, growth = await growing(world, ("node1",))
            assert isinstance(await person.ask(Shrink, job="1"), Accepted)
            await elastic.heard(Withdraw)
            await elastic.carry_out(growth)
            assert (await elastic.resized()).leave == ("node1",)
            assert [(await person.reply()).kind for _ in range(2)] == ["done", "done"]

    play(test)


def test_what_has_become_impossible_when_its_turn_comes_fails_and_the_next_has_its_turn(tmp_path: Path) -> None:
    async def test() -> None:
        async with a_world(tmp_path) as world:
            elastic, person, growth = await growing(world, ("node1",))
            taken, other = world.person(), world.person()
            assert isinstance(await taken.ask(Expand, job="1", nodes=("node5",)), Accepted)
            assert isinstance(await other.ask(BalanceRequest, job="1"), Accepted)
            rigid = world.submit(nodes=4)
            await world.until(
                lambda: "node5" not in world.agent.view().free and rigid in world.agent.snapshot.job_of,
                what="somebody else has the node",
            )
            await elastic.carry_out(growth)
            failed = await taken.reply()
            assert isinstance(failed, Failed) and failed.why == "node5 is not free (none is free for it)"
            balance = await elastic.heard(Balance)
            assert isinstance(await person.reply(), Done)
            assert isinstance(await person.ask(SetMode, mode="off"), Accepted)
            # Not another order while this one is under way, whatever the mode says.
            await elastic.send(Done(id=balance.id, nodes=elastic.held))
            assert isinstance(await other.reply(), Done)
            assert (await elastic.resized()).leave == ("node1",)

    play(test)


def test_what_waits_for_a_job_that_ends_fails(tmp_path: Path) -> None:
    async def test() -> None:
        async with a_world(tmp_path) as world:
            elastic, person, _ = await growing(world, ("node1",))
            for _ in range(2):
                assert isinstance(await person.ask(BalanceRequest, job="1"), Accepted)
            assert isinstance(await person.ask(Stop, job="1"), Accepted)
            await elastic.heard(StopCommand)
            refused = await person.ask(Expand, job="1")
            assert isinstance(refused, Rejected) and refused.why == "the job is being stopped already (job 1: stop)"
            await elastic.end()
            replies = [await person.reply() for _ in range(4)]
            assert all(isinstance(reply, Failed) for reply in replies)
            assert [reply.why for reply in replies if isinstance(reply, Failed)].count("the job has ended") == 4
            assert world.agent._desk._turns.waiting == {}

    play(test)


def test_a_line_is_not_endless(tmp_path: Path) -> None:
    async def test() -> None:
        async with a_world(tmp_path) as world:
            _, person, _ = await growing(world, ("node1",))
            for _ in range(LONGEST_LINE):
                assert isinstance(await person.ask(BalanceRequest, job="1"), Accepted)
            refused = await person.ask(BalanceRequest, job="1")
            assert isinstance(refused, Rejected) and f"{LONGEST_LINE} orders wait for this job already" in refused.why

    play(test)


def test_an_agent_that_is_restarted_gives_up_what_waited_and_says_so_in_its_history(tmp_path: Path) -> None:
    async def test() -> None:
        async with a_world(tmp_path) as world:
            _, person, growth = await growing(world, ("node1",))
            waits = await person.ask(Expand, job="1", nodes=("node2",))
            assert isinstance(waits, Accepted)
            await world.kill()
            await world.start()
            outcomes = {entry.id: (entry.outcome, entry.why) for entry in world.journal.history()}
            assert outcomes == {
                growth.id: ("open", None),
                waits.id: ("failed", "the agent was restarted before its turn came"),
            }
            assert "node2" in world.agent.view().free

    play(test)


def test_a_policy_does_not_come_between_two_orders_of_people(tmp_path: Path) -> None:
    async def test() -> None:
        async with a_world(tmp_path, policy="fill") as world:
            elastic, person = world.job(world.submit()), world.person()
            await elastic.joined()
            growth = await elastic.heard(Resize)
            assert len(growth.add) == 5
            await elastic.taken(growth)
            assert isinstance(await person.ask(Shrink, job="1", nodes=("node5",)), Accepted)
            assert isinstance(await person.ask(Shrink, job="1", nodes=("node4",)), Accepted)
            await elastic.carry_out(growth)
            assert [(await elastic.resized()).leave for _ in range(2)] == [("node5",), ("node4",)]
            assert set((await elastic.resized()).add) == {"node4", "node5"}

    play(test)
