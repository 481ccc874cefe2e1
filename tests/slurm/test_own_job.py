"""What a Slurm job learns of itself, and what a companion inherits; the lines are those of Slurm 22.05."""

from __future__ import annotations

from pathlib import Path

import pytest

from flexmpi.errors import ConfigurationError
from flexmpi.slurm.commands import sbatch_command, sbatch_input
from flexmpi.slurm.companion import companion, name_of_companion, parent_of
from flexmpi.slurm.own_job import (
    SEPARATOR,
    ParentJob,
    parse_address,
    parse_cores,
    parse_counts,
    parse_parent,
    parse_time_left,
)

LINE = SEPARATOR.join(
    ("7", "main", "physics", "normal", "ours", "intel|amd", "gres:gpu:2,gres:disk:1", "1-02:03:04", "/home/u/run")
)
NOTHING = SEPARATOR.join(("7", "main", *["(null)"] * 4, "N/A", "UNLIMITED", "/home/u/run"))
RECORD = (
    "JobId=7 JobName=job.sh UserId=u(1) MinMemoryNode=500M MinTmpDiskNode=0 OverSubscribe=NO Contiguous=0 "
    "StdErr=/home/u/out/slurm-7.out StdIn=/dev/null StdOut=/home/u/out/slurm-7.out Power="
)
LAUNCHER = ("python3", "-m", "launcher")


def arguments(parent: ParentJob, node: str | None = None, *, time_left_s: int | None = None) -> list[str]:
    return sbatch_command(companion(parent, node, time_left_s=time_left_s, launcher=LAUNCHER, environment={"KEY": "k"}))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("59", 59), ("3:05", 185), ("1:00:00", 3600), ("1-02:03:04", 93784), ("UNLIMITED", None), ("NOT_SET", None)],
)
def test_time_left_is_read_in_all_of_slurms_forms(text, seconds):
    assert parse_time_left(text) == seconds


def test_a_time_left_that_is_none_is_refused():
    with pytest.raises(ConfigurationError, match="INVALID"):
        parse_time_left("INVALID")


def test_a_companion_inherits_what_a_site_enforces_and_the_time_that_is_left():
    parent = parse_parent("7", LINE, RECORD)
    assert (parent.output_folder, parent.time_left_s) == (Path("/home/u/out"), 93784)
    assert arguments(parent, "node3", time_left_s=93784) == [
        *("sbatch", "--parsable", "--export=ALL", "--mail-type=NONE", "--nodes=1", "--ntasks=1", "--nodelist=node3"),
        *("--partition=main", "--account=physics", "--qos=normal", "--reservation=ours", "--constraint=intel|amd"),
        *("--mem=500M", "--gres=gpu:2,disk:1", "--time=1563", "--signal=B:TERM@60", "--job-name=flexmpi-7"),
        *("--comment=a node of the elastic job 7", "--output=/home/u/out/flexmpi-7-%j.out"),
        *("--exclusive", "--no-requeue"),
    ]


def test_a_companion_of_a_job_that_asked_for_nothing_asks_for_nothing():
    asked = arguments(parse_parent("7", NOTHING, ""))
    named = [
        word for word in asked if word.startswith(("--acc", "--qos", "--res", "--con", "--mem", "--gres", "--nodel"))
    ]
    assert named == []
    assert "--output=/home/u/run/flexmpi-7-%j.out" in asked


def test_memory_asked_for_each_core_is_asked_for_each_core_again():
    parent = parse_parent("7", LINE, RECORD.replace("MinMemoryNode=500M", "MinMemoryCPU=100M"))
    assert [word for word in arguments(parent) if word.startswith("--mem")] == ["--mem-per-cpu=100M"]


def test_gres_is_asked_for_as_newer_releases_tell_it_too():
    assert parse_parent("7", LINE.replace("gres:", "gres/"), RECORD).gres == "gpu:2,disk:1"


@pytest.mark.parametrize(
    ("shares", "exclusive"), [("NO", True), ("OK", False), ("YES", False), ("USER", True), ("", True)]
)
def test_a_job_is_taken_for_exclusive_unless_slurm_says_that_it_shares(shares, exclusive):
    record = RECORD.replace("OverSubscribe=NO", f"OverSubscribe={shares}" if shares else "")
    assert parse_parent("7", LINE, record).exclusive is exclusive


def test_a_companions_script_becomes_the_launcher_and_its_secrets_are_in_the_environment():
    job = companion(parse_parent("7", LINE, RECORD), None, time_left_s=60, launcher=LAUNCHER, environment={"KEY": "k"})
    assert sbatch_input(job) == "#!/bin/sh\nexec python3 -m launcher\n"
    assert job.environment == {"KEY": "k"}


def test_a_companion_is_known_by_its_name_and_no_other_job_is():
    assert parent_of(name_of_companion("4294967294")) == 4294967294
    others = ("flexmpi-", "flexmpi-7 ", "flexmpi-7\n", "my-flexmpi-7", "flexmpi--7", f"flexmpi-{'7' * 5000}")
    assert [name for name in others if parent_of(name) is not None] == []


@pytest.mark.parametrize(("left_s", "limit"), [(59, "1"), (0, "1"), (179, "2"), (None, "UNLIMITED")])
def test_the_limit_of_a_companion_is_never_zero_which_slurm_takes_for_none(left_s, limit):
    asked = arguments(parse_parent("7", LINE, RECORD), time_left_s=left_s)
    assert f"--time={limit}" in asked
    assert not any(word.startswith("--signal") for word in asked), "too short for a warning, or no end to be warned of"


def test_the_last_element_of_a_job_array_is_told_from_the_others_that_share_its_number():
    other = LINE.replace("7", "8", 1).replace("main", "other")
    parent = parse_parent(
        "7", f"{other}\n{LINE}\n", f"{RECORD.replace('JobId=7', 'JobId=8').replace('out/', 'no/')}\n{RECORD}\n"
    )
    assert (parent.partition, parent.output_folder) == ("main", Path("/home/u/out"))


@pytest.mark.parametrize(
    ("text", "counts"), [("4", [4]), ("4(x2)", [4, 4]), ("4(x2),2,16(x1)", [4, 4, 2, 16]), ("", [])]
)
def test_cores_are_read_node_by_node(text, counts):
    assert parse_counts(text) == counts


def test_cores_in_another_form_are_refused():
    with pytest.raises(ConfigurationError, match="four"):
        parse_counts("four")


def test_cores_of_a_partition_and_the_address_of_a_node_are_read():
    assert parse_cores("node0|4\nnode1|16\n") == {"node0": 4, "node1": 16}
    assert parse_address("NodeName=node0 Arch=x86_64 NodeAddr=10.0.0.7 NodeHostName=node0") == "10.0.0.7"
    assert parse_address("NodeName=node0 State=FUTURE") is None


def test_what_squeue_says_of_no_job_is_an_error():
    with pytest.raises(ConfigurationError, match="of job 7"):
        parse_parent("7", "", "")
