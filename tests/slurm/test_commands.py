"""From a submission to Slurm's command lines and environments, and what is read from what they print."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.cluster.submission import Submission
from flexmpi.errors import ConfigurationError, ManagerError
from flexmpi.slurm.commands import (
    job_number,
    quoted,
    refusal_to_cancel,
    sbatch_command,
    sbatch_environment,
    sbatch_input,
    scancel_command,
    slurm_environment,
    time_limit_minutes,
)

DATA = Path(__file__).with_name("data")
SCRIPT = "#!/bin/sh\ntrue\n"
BOUNDED = settings(derandomize=True, deadline=None, max_examples=200)


def test_everything_a_submission_says_is_an_option():
    submission = Submission(
        script="job.sh",
        arguments=("--verbose", "a b"),
        name="flexmpi-7",
        nodes=1,
        maximum_nodes=3,
        tasks=2,
        node="node3",
        partition="main",
        account="physics",
        qos="high",
        reservation="r1",
        constraint="fast",
        memory="500M",
        memory_per_core="100M",
        gres="gpu:1",
        time_limit_s=90,
        warning_s=60,
        comment="of 7",
        output="out-%j",
        directory="/scratch",
        exclusive=True,
        requeue=False,
        array="1-3",
    )
    assert sbatch_command(submission) == [
        *("sbatch", "--parsable", "--export=ALL", "--mail-type=NONE", "--nodes=1-3", "--ntasks=2", "--nodelist=node3"),
        *("--partition=main", "--account=physics", "--qos=high", "--reservation=r1", "--constraint=fast", "--mem=500M"),
        *(
            "--mem-per-cpu=100M",
            "--gres=gpu:1",
            "--time=2",
            "--signal=B:TERM@60",
            "--job-name=flexmpi-7",
            "--comment=of 7",
            "--output=out-%j",
            "--chdir=/scratch",
        ),
        *("--array=1-3", "--exclusive", "--no-requeue", "--", "job.sh", "--verbose", "a b"),
    ]
    assert sbatch_input(submission) == ""


def test_a_script_given_as_its_text_goes_to_standard_input():
    plain = Submission(script=SCRIPT)
    assert sbatch_command(plain) == ["sbatch", "--parsable", "--export=ALL", "--mail-type=NONE", "--nodes=1"]
    assert sbatch_input(plain) == SCRIPT
    assert sbatch_command(Submission(script=SCRIPT, arguments=("a",)))[-3:] == ["--", "/dev/stdin", "a"]


@pytest.mark.parametrize(
    ("time_limit_s", "option"),
    [(0.5, "--time=1"), (60, "--time=1"), (61, "--time=2"), (86400.0, "--time=1440"), (math.inf, "--time=UNLIMITED")],
)
def test_a_time_limit_is_in_whole_minutes_and_never_0(time_limit_s, option):
    assert option in sbatch_command(Submission(script=SCRIPT, time_limit_s=time_limit_s))


@BOUNDED
@given(st.floats(min_value=1e-9, max_value=1e9))
def test_the_minutes_cover_the_time_limit_and_hardly_more(seconds):
    minutes = time_limit_minutes(seconds)
    assert minutes >= 1 and seconds <= minutes * 60 < seconds + 60 + 1e-6


@BOUNDED
@given(st.text().filter(lambda text: "\0" not in text))
def test_no_value_can_become_an_option_of_its_own(text):
    submission = Submission(script=SCRIPT, name=text, comment=text, account=text, arguments=(text,))
    command = sbatch_command(submission)
    end = command.index("--")
    assert command[end:] == ["--", "/dev/stdin", text]
    fixed = ["sbatch", "--parsable", "--export=ALL", "--mail-type=NONE", "--nodes=1"]
    assert command[:end] == [*fixed, f"--account={text}", f"--job-name={text}", f"--comment={text}"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"script": "true\n"}, "must be a path or begin with '#!', got 'true"),
        ({"script": ""}, "must be a path or begin with '#!'"),
        ({"script": "#!/bin/sh\n\0"}, "zero byte"),
        ({"nodes": 0}, "nodes must be 1 or more, got 0"),
        ({"nodes": 3, "maximum_nodes": 2}, "3 or more, got at most 2"),
        ({"time_limit_s": 0}, "more than 0 s, got 0"),
        ({"time_limit_s": -1.5}, "more than 0 s, got -1.5"),
        ({"time_limit_s": math.nan}, "more than 0 s, got nan"),
        ({"node": "node[1-4]"}, "must be one name, got 'node[1-4]'"),
        ({"node": "a,b"}, "must be one name"),
        ({"node": ""}, "must be one name"),
        ({"comment": "a\0b"}, "zero byte"),
        ({"arguments": ("a\0b",)}, "zero byte"),
    ],
)
def test_what_has_no_meaning_is_refused_before_slurm_sees_it(wrong, said):
    with pytest.raises(ConfigurationError) as caught:
        Submission(**{"script": SCRIPT, **wrong})
    assert said in str(caught.value)


OUTER = {
    "PATH": "/bin",
    "HOME": "/home/u",
    "LANG": "C",
    "SLURM_CONF": "/etc/slurm.conf",
    "SLURM_JOB_ID": "7",
    "SLURM_TIME_FORMAT": "relative",
    "SBATCH_PARTITION": "other",
    "SQUEUE_STATES": "PD",
    "SINFO_FORMAT": "%n",
    "PMI_RANK": "1",
    "PMIX_RANK": "1",
    "SLURMX": "kept",
}


def test_commands_see_which_cluster_it_is_and_nothing_of_the_job_they_are_run_from():
    kept = {name: OUTER[name] for name in ("PATH", "HOME", "LANG", "SLURM_CONF", "SLURMX")}
    assert slurm_environment(OUTER) == kept


def test_a_job_gets_its_own_variables_on_top_of_those_inherited():
    submission = Submission(script=SCRIPT, environment={"KEY": "secret", "LANG": "de"})
    assert sbatch_environment(submission, OUTER) == slurm_environment(OUTER) | {"KEY": "secret", "LANG": "de"}
    alone = Submission(script=SCRIPT, environment={"KEY": "secret"}, inherit_environment=False)
    assert sbatch_environment(alone, OUTER) == {
        "PATH": "/bin",
        "HOME": "/home/u",
        "SLURM_CONF": "/etc/slurm.conf",
        "KEY": "secret",
    }


def test_secrets_are_not_on_the_command_line():
    submission = Submission(script=SCRIPT, environment={"KEY": "secret"})
    assert not any("secret" in word for word in sbatch_command(submission))


@pytest.mark.parametrize(
    ("output", "number"),
    [
        ("12\n", 12),
        ("12;dev\n", 12),
        ("12;\n", 12),
        ("sbatch: note\nproject 5 charged\n 4294967295;c \n\n", 4294967295),
        ("Submitted batch job 12\n", 12),
        ("Submitted batch job 12 on cluster dev\n", 12),
        ("12;dev\nYour balance:\n500\n", 12),
        ("500\nSubmitted batch job 12\n", 12),
        ("12\n\n12\n", 12),
    ],
)
def test_the_number_is_found_among_whatever_a_site_prints(output, number):
    assert job_number(output) == number


@pytest.mark.parametrize(
    "output", ["", "\n", "Submitted batch job 12 soon\n", "-1", "12;a b", "12\nYour balance:\n500\n"]
)
def test_output_without_a_number_or_with_several_is_refused(output):
    with pytest.raises(ManagerError, match="expected the number of a job"):
        job_number(output)


@pytest.mark.parametrize("release", ["22.05", "24.11", "26.05"])
def test_what_scancel_says_tells_unknown_ended_and_foreign_jobs_apart(release):
    said = {what: (DATA / release / f"scancel-{what}.stderr").read_text() for what in ("unknown", "ended", "not-owner")}
    assert refusal_to_cancel(said["unknown"]) == "Kill job error on job id 9999: Invalid job id specified"
    assert refusal_to_cancel(said["ended"]) is None
    assert "Access/permission denied" in str(refusal_to_cancel(said["not-owner"]))
    assert refusal_to_cancel("scancel: Terminating job 5\n") is None
    assert scancel_command(5) == ["scancel", "--verbose", "5"]


@pytest.mark.parametrize("release", ["22.05", "24.11", "26.05"])
def test_slurms_words_are_put_on_one_line(release):
    words = (DATA / release / "sbatch-invalid-partition.stderr").read_text()
    assert quoted(words) == (
        "invalid partition specified: nosuch; Batch job submission failed: Invalid partition name specified"
    )


@BOUNDED
@given(st.text())
def test_whatever_a_command_says_a_quotation_of_it_is_one_short_line(text):
    assert len(quoted(text).splitlines()) <= 1 and len(quoted(text)) <= 501
