from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError

from flexmpi.cluster.state import Job, JobState, Snapshot
from flexmpi.scheduler.deciding.second_looks import (
    FIRST_PAUSE_S,
    Disappointment,
    SecondLooks,
    doubts_as_text,
    doubts_of_text,
)

PATIENCE_S = 120.0
NODES = {7: ("n1", "n2")}
WAITS = Job(job_id=7, name="j", uid=1, user="u", state=JobState.PENDING, reason="Resources")


def queue(*jobs: Job) -> Snapshot:
    return Snapshot(taken_at=0.0, nodes=(), jobs=jobs)


def looked(
    looks: SecondLooks, now: float, job: Job = WAITS, could_start: dict[int, tuple[str, ...]] = NODES
) -> tuple[SecondLooks, tuple[Disappointment, ...]]:
    return looks.after(could_start, queue(job), now=now, patience_s=PATIENCE_S)


def after_failing(times: int) -> tuple[SecondLooks, float]:
    """Return what is expected of the job after so many disappointments, and when it is tried again."""
    looks, now = SecondLooks(), 0.0
    for _ in range(times):
        looks, failed = looked(looks, now)
        assert failed == ()
        looks, (_,) = looked(looks, now + PATIENCE_S)
        now = looks.doubts[7].until
    return looks, now


def test_a_job_that_has_not_started_in_time_is_left_out_with_the_nodes_that_were_kept() -> None:
    looks, failed = looked(SecondLooks(), 1000.0)
    assert (looks.doubted(1000.0), failed) == (frozenset(), ())
    looks, failed = looked(looks, 1119.0)
    assert (looks.doubted(1119.0), failed) == (frozenset(), ())
    looks, failed = looked(looks, 1120.0)
    assert failed == (Disappointment(WAITS, ("n1", "n2"), after_s=120.0, pause_s=FIRST_PAUSE_S),)
    assert looks.doubted(1120.0) == looks.doubted(1719.0) == {7}
    assert looks.doubted(1720.0) == frozenset()


def test_the_pause_doubles_from_ten_minutes_to_a_day() -> None:
    looks, now, pauses_min = SecondLooks(), 0.0, []
    for _ in range(10):
        looks, _ = looked(looks, now)
        looks, (failed,) = looked(looks, now + PATIENCE_S)
        pauses_min.append(failed.pause_s / 60)
        now = looks.doubts[7].until
    assert pauses_min == [10, 20, 40, 80, 160, 320, 640, 1280, 1440, 1440]


def test_a_job_that_could_not_start_meanwhile_has_its_time_anew() -> None:
    looks, _ = looked(SecondLooks(), 0.0)
    looks, _ = looked(looks, 60.0, could_start={})
    looks, failed = looked(looks, 120.0)
    assert failed == ()
    _, failed = looked(looks, 240.0)
    assert len(failed) == 1


def test_a_job_array_whose_tasks_start_is_not_left_out() -> None:
    looks, _ = looked(SecondLooks(), 0.0, replace(WAITS, array_job_id=7, array_tasks="1-9"))
    looks, failed = looked(looks, 120.0, replace(WAITS, array_job_id=7, array_tasks="2-9"))
    assert failed == ()
    looks, failed = looked(looks, 240.0, replace(WAITS, array_job_id=7, array_tasks="2-9"))
    assert len(failed) == 1
    looks, _ = looked(looks, 241.0, replace(WAITS, array_job_id=7, array_tasks="3-9"))
    assert looks.doubts == {}


def test_a_job_that_waits_no_more_is_forgotten() -> None:
    looks, _ = after_failing(1)
    started = replace(WAITS, state=JobState.RUNNING)
    assert looked(looks, 130.0, started)[0] == SecondLooks()


def test_doubts_outlast_the_agent_and_what_is_none_is_refused() -> None:
    looks, _ = after_failing(2)
    assert doubts_of_text(doubts_as_text(looks.doubts)) == looks.doubts
    with pytest.raises(ValidationError):
        doubts_of_text('{"7": {"failures": "often"}}')
