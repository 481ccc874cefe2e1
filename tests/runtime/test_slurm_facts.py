"""What a Slurm job learns of itself, and what a companion inherits; the lines are those of Slurm 22.05."""

from __future__ import annotations

from pathlib import Path

import pytest

from flexmpi.errors import ConfigurationError
from flexmpi.runtime.slurm_facts import companion_arguments, parse_parent, parse_time_left, slurm_environment

LINE = "7|main|physics|normal|(null)|fast|500M|N/A|1-02:03:04|/home/u/run"
RECORD = "JobId=7 JobName=job.sh UserId=u(1) StdErr=/home/u/out/slurm-7.out StdIn=/dev/null StdOut=/home/u/out/slurm-7.out Power="


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
    assert parent.output_folder == Path("/home/u/out")
    arguments = companion_arguments(parent, "node3")
    wanted = {
        "--partition=main",
        "--account=physics",
        "--qos=normal",
        "--constraint=fast",
        "--mem=500M",
        "--nodelist=node3",
    }
    assert wanted <= set(arguments)
    assert "--time=1563" in arguments
    assert not any(argument.startswith(("--gres", "--reservation")) for argument in arguments)


def test_no_node_is_named_where_slurm_is_to_choose():
    assert not any(
        argument.startswith("--nodelist") for argument in companion_arguments(parse_parent("7", LINE, ""), None)
    )


@pytest.mark.parametrize(("left", "limit"), [("0:59", "1"), ("0:00", "1"), ("UNLIMITED", "UNLIMITED")])
def test_the_limit_of_a_companion_is_never_zero_which_slurm_takes_for_none(left, limit):
    parent = parse_parent("7", LINE.replace("1-02:03:04", left), RECORD)
    assert f"--time={limit}" in companion_arguments(parent, None)


def test_the_last_element_of_a_job_array_is_told_from_the_others_that_share_its_number():
    other = LINE.replace("7|main", "8|other")
    parent = parse_parent(
        "7", f"{other}\n{LINE}\n", f"{RECORD.replace('JobId=7', 'JobId=8').replace('out/', 'no/')}\n{RECORD}\n"
    )
    assert (parent.partition, parent.output_folder) == ("main", Path("/home/u/out"))


def test_what_squeue_says_of_no_job_is_an_error():
    with pytest.raises(ConfigurationError, match="of job 7"):
        parse_parent("7", "", "")


def test_sbatch_sees_nothing_of_the_job_it_is_called_from():
    inherited = {"SLURM_JOB_ID": "7", "SBATCH_QOS": "x", "SLURM_CONF": "/c", "HOME": "/h", "PMI_RANK": "0"}
    assert slurm_environment(inherited) == {"SLURM_CONF": "/c", "HOME": "/h"}
