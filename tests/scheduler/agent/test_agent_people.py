"""What people ask of the agent and what they are answered, over real sockets."""

from __future__ import annotations

import logging
import os
import pwd
import threading
from pathlib import Path

import pytest

from flexmpi.cluster.submission import Submission
from flexmpi.protocol.auth import Identity, SharedKey
from flexmpi.protocol.messages import Done, Failed, Rejected, Resize, Stop
from flexmpi.protocol.replies import (
    Accepted,
    HistoryList,
    JobList,
    NodeList,
)
from flexmpi.protocol.requests import (
    Expand,
    History,
    Jobs,
    Nodes,
    SetMode,
    SetPowercap,
    Shrink,
    Submit,
)
from flexmpi.protocol.requests import Stop as StopRequest
from flexmpi.scheduler.deciding.elastic import Decision, View
from flexmpi.scheduler.deciding.policies import POLICIES
from flexmpi.scheduler.requests import desk
from tests.scheduler.agent_world import WAITS, a_world, play
from tests.scheduler.scripted_job import LIMIT_S


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
            for request in (Expand, Shrink):
                refused = await person.ask(request, job="1", nodes=("node3", "nodeX"))
                assert isinstance(refused, Rejected) and refused.why == "there is no node nodeX"
            refused = await person.ask(Shrink, job="1", nodes=("node0",))
            assert isinstance(refused, Rejected) and "cannot leave" in refused.why
            assert isinstance(await person.ask(Shrink, job="1"), Accepted)
            left = await elastic.heard(Resize)
            assert left.leave == ("node3",)
            await elastic.taken(left)
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


def test_a_job_that_cools_down_says_so_unless_it_cannot_grow_anyway(tmp_path: Path) -> None:
    async def test() -> None:
        async with a_world(tmp_path, sections={"hysteresis": {"cool_down_s": 1000.0, "settle_s": 0.0}}) as world:
            elastic, person = world.job(world.submit(), high=3), world.person()
            await elastic.joined()
            for expected in ("s after its last change", None):
                assert isinstance(await person.ask(Expand, job="1"), Accepted)
                await elastic.resized()
                assert isinstance(await person.reply(), Done)
                listed = await person.ask(Jobs)
                assert isinstance(listed, JobList)
                why = listed.jobs[0].why
                assert why == expected if expected is None else why is not None and why.endswith(expected)

    play(test)


def test_a_cap_without_declared_watts_is_refused(tmp_path: Path) -> None:
    async def test() -> None:
        async with a_world(tmp_path) as world:
            refused = await world.person().ask(SetPowercap, cap_w=100.0)
            assert isinstance(refused, Rejected) and "no watts of nodes are declared" in refused.why

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


def test_a_third_user_changes_nothing_an_operator_does_and_the_log_has_both(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

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
                    assert f"expand 1 by uid 4343 is refused: {answer.why}" in caplog.text
            assert isinstance(await person.ask(SetMode, mode="drain"), Accepted)
            assert "mode drain by uid 4242" in caplog.text

    play(test)


def test_who_names_no_elastic_job_is_told_of_some_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "NAMED", 2)

    async def test() -> None:
        async with a_world(tmp_path) as world:
            refused = await world.person().ask(Expand, job="7")
            assert refused == Rejected(why="no elastic job '7' (no elastic job has registered)")
            for _ in range(4):
                await world.job(world.submit()).joined()
            refused = await world.person().ask(Expand, job="77")
            assert isinstance(refused, Rejected)
            assert refused.why == "no elastic job '77' (elastic jobs: 1, 2 and 2 more)"

    play(test)


def test_the_number_of_a_job_array_is_none_of_its_jobs_and_their_history_has_their_names(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    async def test() -> None:
        async with a_world(tmp_path) as world:
            array = world.manager.submit(Submission(script=WAITS, output="/dev/null", array="0-1"))
            first, second = (world.job(job.job_id) for job in world.manager.snapshot().tasks_of(array))
            await second.joined()
            await first.joined()
            assert f"job {array}_1 registered: scripted on node1" in caplog.text
            person = world.person()
            refused = await person.ask(StopRequest, job=str(array))
            assert refused == Rejected(why=f"{array} is a job array, name one of its jobs: {array}_0, {array}_1")
            assert isinstance(await person.ask(Expand, job=f"{array}_1"), Accepted)
            await second.resized()
            assert isinstance(await person.reply(), Done)
            for name in (str(array), f"{array}_1"):
                history = await person.ask(History, job=name)
                assert isinstance(history, HistoryList)
                assert [entry.job for entry in history.entries] == [f"{array}_1"]

    play(test)


def test_an_agent_without_nodes_of_its_own_takes_no_jobs_from_anybody_nor_says_it_would(tmp_path: Path) -> None:
    async def test() -> None:
        async with a_world(tmp_path) as world:
            world.agent.takes_jobs = False
            for dry_run in (False, True):
                refused = await world.person().ask(Submit, script=WAITS, dry_run=dry_run)
                assert refused == Rejected(why="this agent takes no jobs: submit them with sbatch")

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


def test_a_job_that_was_submitted_is_there_for_who_looks_next(tmp_path: Path) -> None:
    async def test() -> None:
        async with a_world(tmp_path) as world:
            job_id = world.agent.submit(Submission(script=WAITS, output="/dev/null"))
            assert job_id in world.agent.snapshot.job_of

    play(test)
