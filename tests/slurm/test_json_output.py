"""What recorded Slurms of three releases print with --json, and what happens when it is not that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.cluster.request import Gres
from flexmpi.cluster.state import Job, JobState, Node, NodeState
from flexmpi.errors import ManagerError
from flexmpi.slurm import json_output

DATA = Path(__file__).with_name("data")
RELEASES = ("22.05", "24.11", "26.05")
BOUNDED = settings(derandomize=True, deadline=None, max_examples=60)


def text_of(release: str, name: str) -> str:
    return (DATA / release / name).read_text()


@pytest.fixture(params=RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def jobs(release: str) -> tuple[Job, ...]:
    return json_output.parse_jobs(text_of(release, "squeue.json"), source="squeue")


@pytest.fixture
def nodes(release: str) -> dict[str, Node]:
    return {node.name: node for node in json_output.parse_nodes(text_of(release, "nodes.json"), source="sinfo")}


def only(jobs: tuple[Job, ...], **wanted: object) -> Job:
    (found,) = (job for job in jobs if all(getattr(job, name) == value for name, value in wanted.items()))
    return found


def test_a_running_job_is_read_with_its_nodes_and_any_name_and_comment(jobs):
    job = only(jobs, comment='flexmpi of=7 {"a": "ü"}')
    assert job.name == 'with "quotes" | and pipe'
    assert job.state is JobState.RUNNING and job.reason is None
    assert len(job.nodes) == job.minimum_nodes == job.maximum_nodes == 2
    assert job.partitions == ("main",) and (job.uid, job.user) == (0, "root")
    assert job.time_limit_s == 600 and job.ends_at == job.started_at + 600
    assert 0 <= job.started_at - job.submitted_at < 10


def test_another_users_job_is_read_with_its_account_and_the_node_it_asked_for(jobs):
    job = only(jobs, account="physics")
    assert (job.uid, job.user) == (1, "daemon")
    assert job.required_nodes == job.nodes == ("node5",)
    assert job.time_limit_s == 120


def test_a_job_with_a_range_of_nodes_keeps_the_least_it_asked_for(jobs):
    running = only(jobs, user="daemon", minimum_nodes=3)
    assert len(running.nodes) == 4 and running.constraint == ({"fast"},)
    waiting = only(jobs, minimum_nodes=9)
    assert waiting.is_waiting and waiting.maximum_nodes == 10 and waiting.reason == "Resources"
    assert waiting.nodes == ()


def test_a_job_array_is_its_running_task_and_the_tasks_that_wait(jobs):
    waiting = only(jobs, array_tasks="2-5")
    assert waiting.is_waiting and waiting.reason == "JobArrayTaskLimit" and waiting.array_task_id is None
    assert waiting.array_job_id == waiting.job_id and waiting.time_limit_s == 3 * 86400
    running = only(jobs, array_task_id=1)
    assert running.array_job_id == waiting.job_id != running.job_id and running.array_tasks is None
    assert {job.array_job_id for job in jobs} == {None, waiting.job_id}


def test_every_reason_to_wait_is_its_one_word(jobs):
    reasons = {job.reason for job in jobs if job.is_waiting}
    assert {"Resources", "Priority", "Dependency", "BeginTime", "JobHeldUser", "JobArrayTaskLimit"} <= reasons
    assert only(jobs, reason="JobHeldUser").priority == 0


def test_a_job_for_two_partitions_has_both(jobs):
    assert only(jobs, partitions=("main", "small")).reason == "Resources"


def test_a_job_without_a_limit_ends_at_no_time(jobs):
    job = only(jobs, reason="BeginTime")
    assert job.started_at > job.submitted_at + 3000
    assert job.time_limit_s is None and job.ends_at is None


def test_jobs_that_ended_say_how(jobs):
    assert only(jobs, name="t.sh").state is JobState.COMPLETED
    failed = only(jobs, name="f.sh")
    assert failed.state is JobState.FAILED and failed.reason == "NonZeroExitCode" and failed.is_ended
    assert any(job.state is JobState.CANCELLED for job in jobs)


def test_a_job_that_completes_still_holds_its_nodes(jobs):
    job = only(jobs, name="trap.sh")
    assert job.state is JobState.COMPLETING and not job.is_ended and len(job.nodes) == 1


def test_a_job_in_a_reservation_names_it(jobs):
    assert only(jobs, reservation="maint1").nodes == ("node6",)


def test_nodes_are_read_with_all_that_is_said_of_them(nodes):
    assert nodes["node9"].states == {NodeState.IDLE, NodeState.DRAIN}
    assert nodes["node9"].reason == "bad disk | really"
    drains = next(node for node in nodes.values() if node.reason == "fan ü")
    assert drains.states == {NodeState.ALLOCATED, NodeState.DRAIN}
    assert {NodeState.MAINTENANCE, NodeState.RESERVED, NodeState.ALLOCATED} == nodes["node6"].states
    gres = next(node for node in nodes.values() if node.gres)
    assert gres.gres == (Gres("tape", None, 2),) and gres.features == ("fast", "rack0")
    assert all((node.cores, node.memory_mb) == (4, 1000) for node in nodes.values())
    assert {node.partitions for node in nodes.values()} == {("main",), ("main", "small")}


def test_a_node_of_which_anything_is_said_is_not_free(nodes):
    idle = [node for node in nodes.values() if NodeState.IDLE in node.states]
    assert any(NodeState.PLANNED in node.states for node in idle)
    assert not any(node.is_free for node in idle)


def test_22_05_without_a_controller_is_an_error_although_its_status_is_0():
    with pytest.raises(ManagerError, match="squeue: slurm_load_jobs: Failed while looking for jobs"):
        json_output.parse_jobs(text_of("22.05", "squeue-no-controller.json"), source="squeue")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no JSON"),
        ("squeue: error\n", "it begins with 'squeue: error"),
        ("[" * 100_000, "no JSON"),
        ("[]", "expected an object"),
        ('{"meta": 1}', "an object with meta, expected jobs"),
        ('{"jobs": [1]}', "expected jobs"),
        ('{"jobs": [{}]}', "squeue: record 0 of jobs: job_id must be a number, got 'None'"),
        ('{"jobs": [{"job_id": 1}]}', "user_id must be a number"),
        ('{"jobs": [{"job_id": NaN}]}', "job_id must be a number, got 'nan'"),
        ('{"jobs": [{"job_id": 1, "user_id": true}]}', "user_id must be a number"),
        ('{"jobs": [{"job_id": 1, "user_id": 2, "job_state": [3]}]}', "job_state must be a list of strings"),
        ('{"jobs": [{"job_id": 1, "user_id": 2, "nodes": "node[1-"}]}', "expected a list of hosts"),
    ],
)
def test_anything_else_is_refused_with_what_is_wrong(text, said):
    with pytest.raises(ManagerError) as caught:
        json_output.parse_jobs(text, source="squeue")
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_node_needs_a_name(release):
    document = json.loads(text_of(release, "nodes.json"))
    del document["nodes"][2]["name"]
    with pytest.raises(ManagerError, match="record 2 of nodes: name must be a name"):
        json_output.parse_nodes(json.dumps(document), source="sinfo")


@BOUNDED
@given(release=st.sampled_from(RELEASES), where=st.floats(0, 1, exclude_max=True))
def test_output_cut_short_anywhere_is_refused(release, where):
    text = text_of(release, "squeue.json").rstrip()
    with pytest.raises(ManagerError):
        json_output.parse_jobs(text[: int(where * len(text))], source="squeue")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(("set", "number", "a")), inner),
    max_leaves=5,
)


@BOUNDED
@given(data=st.data(), value=ANYTHING, release=st.sampled_from(RELEASES))
def test_whatever_a_field_holds_it_is_read_or_refused(data, value, release):
    document = json.loads(text_of(release, "squeue.json"))
    document["jobs"] = document["jobs"][:1]
    field = data.draw(st.sampled_from(sorted(document["jobs"][0])))
    document["jobs"][0][field] = value
    try:
        assert len(json_output.parse_jobs(json.dumps(document), source="squeue")) == 1
    except ManagerError as error:
        assert field in str(error) or "hosts" in str(error) or "brackets" in str(error)
