from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from flexmpi.cluster.state import Job, JobState, Partition
from flexmpi.scheduler.managers.user_groups import AT_ONCE, UserGroups

ASKS = Partition(name="theirs", allowed_groups=frozenset({"chemists"}))
OPEN = Partition(name="main")


def job(uid: int, state: JobState = JobState.RUNNING, partition: str = "theirs") -> Job:
    return Job(job_id=uid, name="j", uid=uid, user="u", state=state, partitions=(partition,))


@pytest.fixture
def told(tmp_path: Path) -> Mapping[str, str]:
    """Return an environment in which ``id`` tells two groups of users, but none of 9 and never of 99, and writes down of whom."""
    command = tmp_path / "id"
    command.write_text(
        '#!/bin/sh\nfor user; do :; done\necho "$user" >> "${0%/*}/asked"\n'
        "[ $user = 9 ] && exit 1\n[ $user = 99 ] && exec sleep 600\nprintf 'users\\0domain chemists\\0'\n"
    )
    command.chmod(0o755)
    return {"PATH": f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin"}


def test_groups_are_looked_up_once_and_only_where_a_partition_asks_for_them(told, tmp_path):
    groups = UserGroups(told)
    jobs = (job(7), job(8, partition="main"), job(9), job(10, JobState.COMPLETED))
    for _ in range(2):
        assert groups.of(jobs, (ASKS, OPEN)) == {7: {"users", "domain chemists"}}
    assert sorted((tmp_path / "asked").read_text().split()) == ["7", "9"]


def test_nothing_is_known_of_anybody_where_this_machine_does_not_tell():
    assert UserGroups({"PATH": "/nonexistent"}).of((job(7),), (ASKS,)) == {}


def test_this_machines_own_word_is_understood():
    found = UserGroups(os.environ).of((job(0),), (ASKS,))
    assert "root" in found[0]


def test_a_directory_that_does_not_tell_of_one_user_does_not_keep_the_others_groups_from_being_known(told):
    groups = UserGroups(told, limit_s=1.0)
    users = range(90, 90 + 3 * AT_ONCE)
    jobs = [job(uid) for uid in users]
    groups.of(jobs, (ASKS,))
    assert set(groups.of(jobs, (ASKS,))) == set(users[AT_ONCE:])
