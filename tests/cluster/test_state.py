"""What follows from a snapshot by itself."""

from __future__ import annotations

import pytest

from flexmpi.cluster.state import Job, JobState, Node, NodeState, Snapshot


def job(job_id: int, state: JobState = JobState.RUNNING, array: int | None = None) -> Job:
    return Job(job_id=job_id, name="", uid=0, user="", state=state, array_job_id=array)


@pytest.mark.parametrize("also", [state for state in NodeState if state is not NodeState.IDLE])
def test_a_node_is_free_only_where_nothing_but_idle_is_said_of_it(also):
    assert Node(name="a", cores=1, states=frozenset({NodeState.IDLE})).is_free
    assert not Node(name="a", cores=1, states=frozenset({NodeState.IDLE, also})).is_free
    assert not Node(name="a", cores=1, states=frozenset({also})).is_free


def test_a_job_waits_or_holds_nodes_or_has_ended():
    lives = {state: (job(1, state).is_waiting, job(1, state).is_ended) for state in JobState}
    assert [state for state, life in lives.items() if life[0]] == [JobState.PENDING]
    holding = {state for state, life in lives.items() if life == (False, False)}
    assert holding == {
        JobState.CONFIGURING,
        JobState.RUNNING,
        JobState.SUSPENDED,
        JobState.COMPLETING,
        JobState.OTHER,
    }


def test_jobs_are_found_by_number_and_arrays_by_the_number_of_all():
    jobs = (job(1), job(2, array=4), job(3), job(4, array=4))
    seen = Snapshot(taken_at=0.0, nodes=(Node(name="a", cores=1, states=frozenset()),), jobs=jobs)
    assert seen.job_of[3] is jobs[2] and seen.node_of["a"].cores == 1
    assert seen.tasks_of(4) == (jobs[1], jobs[3]) and seen.tasks_of(1) == (jobs[0],) and seen.tasks_of(9) == ()
