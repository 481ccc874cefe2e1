from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from flexmpi.cluster.state import Job, JobState, Partition
from flexmpi.scheduler.managers.user_groups import UserGroups

ASKS = Partition(name="theirs", allowed_groups=frozenset({"chemists"}))
OPEN = Partition(name="main")


def job(uid: int, state: JobState = JobState.RUNNING, partition: str = "theirs") -> Job:
    return Job(job_id=uid, name="j", uid=uid, user="u", state=state, partitions=(partition,))


@pytest.fixture
def told(tmp_path: Path) -> Mapping[str, str]:
    """Return an environment in which ``id`` tells two groups of every user but 9, and writes down whom it was asked for."""
    command = tmp_path / "id"
    command.write_text(
        '#!/bin/sh\nfor user; do :; done\necho "$user" >> "${0%/*}/asked"\n'
        "[ $user = 9 ] && exit 1\nprintf 'users\\0domain chemists\\0'\n"
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
