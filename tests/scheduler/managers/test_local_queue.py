"""The local manager's rules: first come, first served, whole nodes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.cluster.platform import Node
from flexmpi.cluster.state import Job, JobState
from flexmpi.cluster.submission import Submission
from flexmpi.errors import ManagerError
from flexmpi.scheduler.managers.local_environment import output_name
from flexmpi.scheduler.managers.local_queue import choose_nodes, first_to_start, parse_array, require_possible

BOUNDED = settings(derandomize=True, deadline=None, max_examples=200)
NODES = (Node("a", 4, "big"), Node("b", 2, "small"), Node("c", 2, "small"))


def wanting(**options: object) -> Submission:
    return Submission(script="#!/bin/sh\n", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "numbers", "at_once"),
    [
        ("0-3", (0, 1, 2, 3), 4),
        ("1,5,3", (1, 5, 3), 3),
        ("0-10:4", (0, 4, 8), 3),
        ("1-3,2-4%2", (1, 2, 3, 4), 2),
        ("7", (7,), 1),
    ],
)
def test_an_array_is_read_as_slurm_reads_it(text, numbers, at_once):
    tasks = parse_array(text)
    assert (tasks.numbers, tasks.at_once) == (numbers, at_once)


@pytest.mark.parametrize("text", ["", "a", "1-", "3-1", "1:2", "1-3%", "1-3%0", "1-3%x", "0-999999", "1-3:0", "-1"])
def test_what_is_no_array_is_refused(text):
    with pytest.raises(ManagerError, match="invalid job array specification"):
        parse_array(text)


@pytest.mark.parametrize(
    ("options", "taken", "chosen"),
    [
        ({}, (), ("a",)),
        ({}, ("a",), ("b",)),
        ({"nodes": 3}, ("b",), None),
        ({"nodes": 2, "maximum_nodes": 3}, ("b",), ("a", "c")),
        ({"node": "c"}, (), ("c",)),
        ({"node": "c"}, ("c",), None),
        ({"constraint": "small"}, (), ("b",)),
        ({"constraint": "small", "nodes": 2}, ("b",), None),
    ],
)
def test_a_job_gets_the_first_free_nodes_that_suit_it(options, taken, chosen):
    assert choose_nodes(wanting(**options), NODES, taken=taken) == chosen


def test_a_job_that_must_wait_holds_up_all_behind_it():
    waiting = [(1, wanting(nodes=3)), (2, wanting())]
    assert first_to_start(waiting, NODES, taken={"a"}) is None
    assert first_to_start(waiting, NODES, taken=()) == (1, ("a", "b", "c"))


def test_a_task_that_is_held_holds_up_nobody():
    waiting = [(1, wanting()), (2, wanting())]
    assert first_to_start(waiting, NODES, taken=(), held={1: "JobArrayTaskLimit"}) == (2, ("a",))
    assert first_to_start(waiting, NODES, taken=(), held={1: "", 2: ""}) is None


@BOUNDED
@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 2), st.sampled_from([None, "a", "b", "c"])), max_size=6),
    st.sets(st.sampled_from("abc")),
)
def test_jobs_start_in_their_order_on_nodes_that_are_nobody_elses(asked, taken):
    waiting = [
        (number, wanting(nodes=1 if node else nodes, maximum_nodes=(1 if node else nodes) + more, node=node))
        for number, (nodes, more, node) in enumerate(asked)
    ]
    started = []
    used = set(taken)
    while (found := first_to_start(waiting, NODES, taken=used)) is not None:
        job_id, nodes = found
        submission = dict(waiting)[job_id]
        assert not used & set(nodes) and len(set(nodes)) == len(nodes)
        assert submission.nodes <= len(nodes) <= submission.maximum_nodes
        used |= set(nodes)
        started.append(job_id)
        waiting = [entry for entry in waiting if entry[0] != job_id]
    assert started == list(range(len(started)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"node": "z"}, "invalid node name specified: z"),
        ({"nodes": 4}, "requested node configuration is not available: 4 nodes, there are 3"),
        ({"nodes": 2, "constraint": "big"}, "2 nodes, there are 1"),
        ({"nodes": 2, "node": "a"}, "requested node configuration is not available"),
        ({"partition": "main"}, "invalid partition specified: main, expected local"),
        ({"reservation": "r"}, "invalid reservation specified: r"),
        ({"gres": "gpu:1"}, "invalid gres specified: gpu:1"),
    ],
)
def test_what_can_never_run_is_refused_at_once(options, words):
    with pytest.raises(ManagerError) as caught:
        require_possible(wanting(**options), NODES)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        (None, "flexmpi-7.out"),
        ("o-%j-%x-%u-%N", "o-7-name-me-a"),
        ("%A_%a", "7_4294967294"),
        ("100%%-%j", "100%-7"),
        ("%%j", "%j"),
        ("%q%", "%q%"),
    ],
)
def test_an_outputs_name_is_filled_in_as_slurm_does(pattern, name):
    job = Job(job_id=7, name="name", uid=0, user="me", state=JobState.RUNNING, nodes=("a",))
    assert output_name(wanting(output=pattern), job) == name
