"""Slurm's text output, for where there is no JSON: whatever users call their jobs, it is read as it is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.cluster.state import JobState, NodeState
from flexmpi.errors import ManagerError
from flexmpi.slurm import text_output

BOUNDED = settings(derandomize=True, deadline=None, max_examples=200)
MARK = "<0123456789abcdef>"

# As squeue 22.05 filled in the format, in its order.
JOB = {
    "%A": "7",
    "%F": "7",
    "%K": "N/A",
    "%T": "RUNNING",
    "%r": "None",
    "%N": "node[0-1]",
    "%D": "2",
    "%P": "main",
    "%a": "(null)",
    "%q": "(null)",
    "%v": "(null)",
    "%f": "(null)",
    "%n": "",
    "%Q": "4294901757",
    "%V": "1795442210",
    "%S": "1795442211",
    "%e": "1795442811",
    "%l": "10:00",
    "%U": "0",
    "%u": "root",
    "%j": "name",
    "%k": "(null)",
}
NODE = {
    "%N": "node0",
    "%T": "idle",
    "%P": "main*",
    "%c": "4",
    "%m": "1000",
    "%Z": "1",
    "%f": "fast",
    "%G": "(null)",
    "%E": "none",
}


def printed(form: str, *records: dict[str, str]) -> str:
    """Fill in a format as Slurm does, a record a line."""
    lines = []
    for record in records:
        fields = form.split(MARK)
        lines.append(MARK.join(record.get(field, field) for field in fields) + "\n")
    return "".join(lines)


def read_job(**changed: str):
    record = JOB | {f"%{letter}": value for letter, value in changed.items()}
    (job,) = text_output.parse_jobs(printed(text_output.job_format(MARK), record), MARK, source="squeue")
    return job


def read_node(*records: dict[str, str]):
    (node,) = text_output.parse_nodes(
        printed(text_output.node_format(MARK), *[NODE | record for record in records]), MARK, source="sinfo"
    )
    return node


def test_a_running_job_is_read():
    job = read_job()
    assert (job.job_id, job.name, job.user, job.uid) == (7, "name", "root", 0)
    assert job.state is JobState.RUNNING and job.reason is None and job.nodes == ("node0", "node1")
    assert (job.submitted_at, job.started_at, job.ends_at) == (1795442210, 1795442211, 1795442811)
    assert job.time_limit_s == 600 and job.comment is None and job.account is None


def test_tasks_of_an_array_that_wait_are_one_record():
    job = read_job(A="5", F="5", K="2-5%1", T="PENDING", r="JobArrayTaskLimit", N="", D="1", S="N/A", e="N/A")
    assert (job.array_job_id, job.array_task_id, job.array_tasks) == (5, None, "2-5")
    assert job.is_waiting and job.started_at is None and job.nodes == ()
    task = read_job(A="9", F="5", K="1")
    assert (task.array_job_id, task.array_task_id, task.array_tasks) == (5, 1, None)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("Resources", "Resources"),
        ("Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions", "Resources"),
        ("ReqNodeNotAvail, UnavailableNodes:node3", "ReqNodeNotAvail"),
        ("(QOSMaxNodePerUserLimit)", "QOSMaxNodePerUserLimit"),
        ("None", None),
    ],
)
def test_a_reason_is_one_word(said, reason):
    assert read_job(T="PENDING", r=said, N="").reason == reason


def test_a_limit_that_is_none_gives_no_end():
    assert read_job(l="UNLIMITED").time_limit_s is None
    assert read_job(l="UNLIMITED").ends_at is None
    assert read_job(l="UNLIMITED", T="COMPLETED").ends_at == 1795442811


def test_a_limit_above_a_year_is_told_by_the_start_and_the_end_and_may_be_unknown_while_a_job_waits():
    days = 500 * 24 * 3600
    running = read_job(l="INVALID", S="1000", e=str(1000 + days))
    assert (running.time_limit_s, running.ends_at) == (days, 1000 + days)
    waiting = read_job(T="PENDING", l="INVALID", S="N/A", e="N/A", N="")
    assert (waiting.time_limit_s, waiting.ends_at) == (None, None)
    assert read_job(l="INVALID", T="COMPLETED", S="1000", e="2000").time_limit_s is None, "it may have ended early"


@pytest.mark.parametrize("said", ["NOT_SET", "Partition_Limit", "UNLIMITED"])
def test_a_limit_that_is_not_set_is_none(said):
    assert (read_job(l=said).time_limit_s, read_job(l=said).ends_at) == (None, None)


TEXT = st.text().filter(lambda text: MARK not in text)


@BOUNDED
@given(name=TEXT, comment=TEXT)
def test_names_and_comments_may_hold_anything(name, comment):
    first = JOB | {"%j": name, "%k": comment}
    second = JOB | {"%A": "8"}
    text = printed(text_output.job_format(MARK), first, second)
    jobs = text_output.parse_jobs(text, MARK, source="squeue")
    assert [job.job_id for job in jobs] == [7, 8]
    assert jobs[0].name == name


@pytest.mark.parametrize(
    ("said", "states"),
    [
        ("idle", {NodeState.IDLE}),
        ("mixed", {NodeState.MIXED}),
        ("idle*", {NodeState.IDLE, NodeState.NOT_RESPONDING}),
        ("idle~", {NodeState.IDLE, NodeState.POWERED_DOWN}),
        ("allocated$", {NodeState.ALLOCATED, NodeState.MAINTENANCE}),
        ("drained", {NodeState.IDLE, NodeState.DRAIN}),
        ("draining@", {NodeState.ALLOCATED, NodeState.DRAIN, NodeState.REBOOT}),
        ("planned", {NodeState.IDLE, NodeState.PLANNED}),
        ("reserved", {NodeState.RESERVED}),
        ("never heard of", {NodeState.OTHER}),
    ],
)
def test_a_nodes_state_is_read_with_the_signs_behind_it(said, states):
    node = read_node({"%T": said})
    assert node.states == states and node.is_free == (said == "idle")


def test_a_node_in_two_partitions_is_one_node():
    node = read_node({}, {"%P": "small"})
    assert node.partitions == ("main", "small") and node.features == ("fast",) and node.reason is None


@BOUNDED
@given(st.floats(0, 1, exclude_max=True))
def test_output_cut_short_is_refused_unless_whole_records_are_left(where):
    text = printed(text_output.job_format(MARK), JOB, JOB | {"%A": "8"})
    cut = text[: int(where * len(text))]
    try:
        jobs = text_output.parse_jobs(cut, MARK, source="squeue")
    except ManagerError as error:
        assert "squeue printed" in str(error)
    else:
        assert cut.count(MARK) == len(jobs) * text.count(MARK) // 2
