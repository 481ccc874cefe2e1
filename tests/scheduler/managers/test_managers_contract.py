"""What every resource manager does, held against each: Slurm by its commands, Slurm by pyslurm, this machine's virtual nodes."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

import pytest

from flexmpi.cluster.state import JobState, NodeState
from flexmpi.scheduler.managers import Submission
from tests.applications import wait_until
from tests.scheduler.managers.managed import Managed

TRUE = "#!/bin/sh\ntrue\n"
CLOCK_SLACK_S = 2.0


def test_an_idle_cluster_is_all_its_nodes_free(managed: Managed):
    before = time.time()
    seen = managed.manager.snapshot()
    assert before <= seen.taken_at <= time.time()
    assert [node.name for node in seen.nodes] == [f"node{number}" for number in range(6)]
    assert all(node.is_free and node.cores == 4 and len(node.partitions) > 0 for node in seen.nodes)
    assert not any(not job.is_ended for job in seen.jobs)
    assert seen.hidden == frozenset()


def test_a_job_holds_one_node_from_its_start_to_its_end(managed: Managed, tmp_path: Path):
    before = time.time()
    held = managed.hold(tmp_path, name="my job", comment="of 7 | {}", time_limit_s=120)
    job = held.until_running()
    assert job.state is JobState.RUNNING and job.reason is None and not job.is_waiting
    assert (job.name, job.comment, job.uid) == ("my job", "of 7 | {}", os.getuid())
    assert (job.time_limit_s, job.array_job_id, job.array_task_id) == (120, None, None)
    assert before - CLOCK_SLACK_S <= job.submitted_at <= job.started_at <= time.time() + CLOCK_SLACK_S
    assert abs(job.ends_at - (job.started_at + 120)) <= 1
    seen = managed.manager.snapshot()
    (name,) = job.nodes
    assert seen.node_of[name].states == {NodeState.ALLOCATED}
    assert sum(node.is_free for node in seen.nodes) == 5
    held.release()
    ended = managed.until_ended(held.job_id).job_of.get(held.job_id)
    assert ended is None or ended.state is JobState.COMPLETED


def test_a_job_that_fails_says_so(managed: Managed):
    job_id = managed.submit(Submission(script="#!/bin/sh\nexit 3\n", output="/dev/null"))
    ended = managed.until_ended(job_id).job_of.get(job_id)
    assert ended is None or (ended.state, ended.reason) == (JobState.FAILED, "NonZeroExitCode")


def test_a_running_job_that_is_cancelled_ends_with_its_processes(managed: Managed, tmp_path: Path, ended_processes):
    held = managed.hold(tmp_path)
    held.until_running()
    ended_processes += held.pids
    managed.manager.cancel(held.job_id)
    ended = managed.until_ended(held.job_id).job_of.get(held.job_id)
    assert ended is None or ended.state is JobState.CANCELLED


def test_a_waiting_job_that_is_cancelled_never_runs(managed: Managed, tmp_path: Path):
    first = managed.hold(tmp_path, node="node2")
    first.until_running()
    second = managed.hold(tmp_path, node="node2")
    waiting = managed.job(second.job_id)
    assert waiting.is_waiting and waiting.nodes == () and waiting.required_nodes == ("node2",)
    managed.manager.cancel(second.job_id)
    managed.until_ended(second.job_id)
    first.release()
    managed.until_ended(first.job_id)
    assert second.told.read_text() == ""


def test_a_job_for_a_named_node_runs_there_and_waits_for_it(managed: Managed, tmp_path: Path):
    first = managed.hold(tmp_path, node="node4")
    assert first.until_running().nodes == ("node4",)
    second = managed.hold(tmp_path, node="node4")
    # Slurm has no reason before it has looked at the job; then it is one of these.
    managed.until(
        lambda seen: seen.job_of[second.job_id].reason in ("Resources", "Priority"), what="the second job waits"
    )
    assert second.told.read_text() == ""
    first.release()
    assert second.until_running().nodes == ("node4",)


def test_a_job_for_all_nodes_waits_until_the_last_is_free(managed: Managed, tmp_path: Path):
    small = managed.hold(tmp_path, exclusive=True)
    taken = set(small.until_running().nodes)
    large = managed.hold(tmp_path, nodes=6, exclusive=True)
    seen = managed.until(lambda seen: seen.job_of[large.job_id].reason == "Resources", what="the large job waits")
    waiting = seen.job_of[large.job_id]
    assert (waiting.minimum_nodes, waiting.maximum_nodes) == (6, 6)
    assert {node.name for node in seen.nodes if NodeState.ALLOCATED in node.states} == taken
    small.release()
    assert set(large.until_running().nodes) == {node.name for node in seen.nodes}


def test_a_job_takes_as_many_of_its_range_of_nodes_as_are_free(managed: Managed, tmp_path: Path):
    first = managed.hold(tmp_path, nodes=3)
    first.until_running()
    second = managed.hold(tmp_path, nodes=2, maximum_nodes=5)
    assert len(second.until_running().nodes) == 3


def test_exclusive_jobs_share_no_node_and_every_snapshot_agrees_with_itself(managed: Managed, tmp_path: Path):
    jobs = [managed.hold(tmp_path, exclusive=True, nodes=number) for number in (1, 2, 3)]
    for job in jobs:
        job.until_running()
    seen = managed.manager.snapshot()
    running = [job for job in seen.jobs if not job.is_waiting and not job.is_ended]
    names = [name for job in running for name in job.nodes]
    assert len(running) == 3 and sorted(names) == sorted(node.name for node in seen.nodes)
    assert all(seen.node_of[name].states == {NodeState.ALLOCATED} for name in names)
    assert len({job.job_id for job in seen.jobs}) == len(seen.jobs)


def test_an_array_is_its_tasks_one_after_the_other_where_it_asks_for_that(managed: Managed, tmp_path: Path):
    held = managed.hold(tmp_path, array="3,5-6%1", time_limit_s=60)
    first = managed.until(
        lambda seen: any(job.nodes for job in seen.tasks_of(held.job_id)), what="the first task runs"
    ).tasks_of(held.job_id)
    assert {job.array_job_id for job in first} == {held.job_id}
    assert [job.array_task_id for job in first if job.nodes] == [3]
    assert all(job.time_limit_s == 60 for job in first)
    held.release()
    managed.until_ended(held.job_id)
    assert [line.split()[1] for line in held.told.read_text().splitlines()] == ["3", "5", "6"]


def test_an_array_is_cancelled_as_a_whole(managed: Managed, tmp_path: Path, ended_processes):
    held = managed.hold(tmp_path, array="0-3%2")
    wait_until(lambda: len(held.pids) == 2, what="two tasks run", limit_s=60)
    ended_processes += held.pids
    managed.manager.cancel(held.job_id)
    managed.until_ended(held.job_id)
    assert len(held.pids) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [({"node": "nosuch"}, "invalid node name specified"), ({"partition": "nosuch"}, "invalid partition")],
)
def test_a_job_that_cannot_be_is_refused_in_the_managers_words(managed: Managed, options, words):
    known = {job.job_id for job in managed.manager.snapshot().jobs}
    refusal = managed.refusal(lambda: managed.submit(Submission(script=TRUE, **options)))
    assert words in refusal.lower() and "\n" not in refusal
    assert {job.job_id for job in managed.manager.snapshot().jobs} == known


def test_a_script_file_that_is_not_there_is_refused_with_its_name(managed: Managed, tmp_path: Path):
    refusal = managed.refusal(lambda: managed.submit(Submission(script=str(tmp_path / "missing.sh"))))
    assert "missing.sh" in refusal


def test_an_unknown_job_cannot_be_cancelled_and_one_that_ended_need_not(managed: Managed):
    refusal = managed.refusal(lambda: managed.manager.cancel(99999))
    assert "invalid job id specified" in refusal.lower() and "99999" in refusal
    job_id = managed.submit(Submission(script=TRUE, output="/dev/null"))
    managed.until_ended(job_id)
    managed.manager.cancel(job_id)


def test_no_time_limit_is_none(managed: Managed, tmp_path: Path):
    held = managed.hold(tmp_path, time_limit_s=math.inf)
    job = held.until_running()
    assert job.time_limit_s is None and job.ends_at is None


def test_a_job_gets_its_arguments_variables_folder_and_output(managed: Managed, tmp_path: Path):
    script = tmp_path / "show.sh"
    script.write_text('#!/bin/sh\nprintf "%s\\n" "$@" "$SECRET" "$PWD" "${SLURM_JOB_ID-}${FLEXMPI_JOB_ID-}"\n')
    variables = {"SECRET": "a 'b' \"c\" $d"}
    job_id = managed.submit(
        Submission(
            script=str(script),
            arguments=("one two", "--three", "*"),
            environment=variables,
            directory=str(tmp_path),
            output="out-%j",
        )
    )
    managed.until_ended(job_id)
    lines = (tmp_path / f"out-{job_id}").read_text().splitlines()
    assert lines == ["one two", "--three", "*", variables["SECRET"], str(tmp_path), str(job_id)]
