"""When Slurm's commands hang, fail, or print something else: a clear error in time, and no process left."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from flexmpi.cluster.submission import Submission
from flexmpi.errors import ManagerError
from flexmpi.scheduler.managers import slurm_cli
from flexmpi.scheduler.managers.slurm_cli import SlurmCli
from flexmpi.slurm.site import Site
from tests.scheduler.managers.shims import HANGS, Shims

SCRIPT = "#!/bin/sh\ntrue\n"
SHORT_S = 1.0

# A command without --json, which fills in the format it is given.
WITHOUT_JSON = """for word; do case $word in
    --json) echo "$0: unrecognized option '--json'" >&2; exit 1;;
    --format=*) format=${{word#--format=}};;
    --Format=*) exit 0;;
esac; done
printf '%s\\n' "$format" | sed '{fill}'
"""
JOB = {"A": "7", "F": "7", "K": "N\\/A", "T": "RUNNING", "r": "None", "N": "node1", "D": "1", "P": "main"}
JOB |= {"[aqvfnk]": "(null)", "Q": "1", "[VSe]": "1795442210", "l": "1:00", "U": "0", "u": "root", "j": "a\\nb"}
NODE = {"N": "node1", "T": "idle", "P": "main*", "c": "4", "m": "1000", "Z": "1", "[fG]": "(null)", "E": "none"}


@pytest.fixture
def shims(tmp_path: Path) -> Shims:
    return Shims(tmp_path)


@pytest.fixture
def manager(shims: Shims) -> SlurmCli:
    return SlurmCli(environment=shims.environment)


@pytest.fixture
def hurried(shims: Shims) -> SlurmCli:
    """Return a manager that does not wait long."""
    return SlurmCli(environment=shims.environment, limit_s=SHORT_S)


def refusal(act) -> str:
    with pytest.raises(ManagerError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("release", ["22.05", "24.11", "26.05"])
def test_the_shims_themselves_are_a_slurm_that_works(tmp_path, release):
    manager = SlurmCli(environment=Shims(tmp_path, release).environment)
    seen = manager.snapshot()
    assert len(seen.nodes) > 5 and len(seen.jobs) > 10
    assert manager.submit(Submission(script=SCRIPT)) == 7
    manager.cancel(7)


@pytest.mark.parametrize("command", ["squeue", "sinfo"])
@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("echo this is no JSON", "printed no JSON"),
        ("head -c 3000 FILE", "printed no JSON"),
        ("true", "printed no JSON"),
        ("echo '{\"meta\": {}}'", "printed an object with meta, expected"),
        ("echo 'slurm_load error: Socket timed out' >&2; exit 1", "slurm_load error: Socket timed out"),
        ("cat FILE; exit 3", "did not list the"),
        ("kill -SEGV $$", "killed by signal 11"),
        ('printf "\\377\\376"', "printed no JSON"),
    ],
)
def test_a_reading_that_went_wrong_is_an_error_with_what_was_said(shims, manager, command, body, words):
    file = shims.data / ("squeue.json" if command == "squeue" else "nodes.json")
    shims.reading(command, body.replace("FILE", str(file)))
    assert words in refusal(manager.snapshot)


def test_partitions_that_slurm_does_not_list_are_an_error_unless_it_hides_them(shims, manager, monkeypatch):
    denied = (
        'case "$*" in *partition*) echo "slurm_load_partitions error: Access/permission denied" >&2; exit 1;; esac\n'
    )
    shims.put("scontrol", denied + (shims.folder / "scontrol").read_text())
    assert "list the partitions: slurm_load_partitions error: Access" in refusal(manager.snapshot)
    monkeypatch.setattr(slurm_cli, "read_site", lambda **_: Site((22, 5), frozenset({"partitions"})))
    hidden = SlurmCli(environment=shims.environment).snapshot()
    assert hidden.partitions == () and len(hidden.nodes) > 5


@pytest.mark.parametrize("command", ["squeue", "sinfo"])
def test_a_reading_slower_than_its_limit_is_given_up_with_all_its_processes(shims, hurried, command, ended_processes):
    shims.reading(command, HANGS)
    before = time.monotonic()
    assert refusal(hurried.snapshot).startswith(f"{command} did not answer within")
    assert time.monotonic() - before < SHORT_S + 5
    ended_processes += shims.pids
    assert len(shims.pids) == 2


def test_a_slurm_that_hangs_from_the_start_is_given_up_too(shims, hurried, ended_processes):
    shims.put("scontrol", HANGS)
    assert "scontrol did not answer within 1 s" in refusal(hurried.snapshot)
    ended_processes += shims.pids


def test_once_it_works_again_it_works_again(shims, manager):
    good = manager.snapshot()
    shims.reading("squeue", "exit 1")
    refusal(manager.snapshot)
    shims.reading("squeue", f"cat {shims.data}/squeue.json")
    again = manager.snapshot()
    assert (again.jobs, again.nodes) == (good.jobs, good.nodes)


def test_a_slurm_without_json_is_read_as_text(shims, manager):
    shims.reading("squeue", WITHOUT_JSON.format(fill=";".join(f"s/%{field}/{said}/g" for field, said in JOB.items())))
    shims.reading("sinfo", WITHOUT_JSON.format(fill=";".join(f"s/%{field}/{said}/g" for field, said in NODE.items())))
    for _ in range(2):
        seen = manager.snapshot()
        assert [(node.name, node.is_free, node.partitions) for node in seen.nodes] == [("node1", True, ("main",))]
        assert [(job.job_id, job.name, job.nodes, job.time_limit_s) for job in seen.jobs] == [
            (7, "a\nb", ("node1",), 60)
        ]


def test_a_command_that_is_not_installed_is_named(shims, manager):
    shims.remove("sbatch")
    unlucky = SlurmCli(environment=shims.environment)
    assert refusal(lambda: unlucky.submit(Submission(script=SCRIPT))).startswith("sbatch cannot be run: No such file")


def test_sbatchs_warnings_before_the_number_are_not_the_number(shims, manager):
    shims.put(
        "sbatch",
        "cat > /dev/null\necho 'sbatch: warning: 12 projects' >&2\necho 'Charged to project 99'\necho 7\necho\n",
    )
    assert manager.submit(Submission(script=SCRIPT)) == 7


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("echo Thank you", "sbatch printed 'Thank you', expected the number of a job"),
        ("true", "sbatch printed '', expected the number of a job"),
        (
            "echo 'sbatch: error: QOSMaxSubmitJobPerUserLimit' >&2\n"
            "echo 'sbatch: error: Batch job submission failed: Job violates accounting/QOS policy' >&2; exit 1",
            "did not submit the job: QOSMaxSubmitJobPerUserLimit; Batch job submission failed: Job violates",
        ),
    ],
)
def test_an_sbatch_that_fails_says_why(shims, manager, body, words):
    shims.put("sbatch", f"{body}\n")
    assert words in refusal(lambda: manager.submit(Submission(script=SCRIPT)))


def test_an_sbatch_that_does_not_read_its_script_is_no_error_of_ours(shims, manager):
    shims.put("sbatch", "exec 0<&-; echo 7\n")
    assert manager.submit(Submission(script=SCRIPT + "#" * 1_000_000)) == 7


def test_an_sbatch_that_hangs_may_have_submitted_the_job_and_this_is_said(shims, hurried, ended_processes):
    shims.put("sbatch", HANGS)
    said = refusal(lambda: hurried.submit(Submission(script=SCRIPT, name="flexmpi-7")))
    assert said == "sbatch did not answer within 1 s; job 'flexmpi-7' may have been submitted or not"
    ended_processes += shims.pids
    assert len(shims.pids) == 2


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            "echo 'scancel: error: Kill job error on job id 7: Access/permission denied' >&2; exit 210",
            "Access/permission",
        ),
        ("echo 'scancel: error: Kill job error on job id 7: Invalid job id specified' >&2; exit 0", "Invalid job id"),
        ("exit 5", "scancel did not cancel job 7: status 5"),
        ("kill -KILL $$", "killed by signal 9"),
    ],
)
def test_a_scancel_that_fails_says_why_whatever_its_status(shims, manager, body, words):
    shims.put("scancel", f"{body}\n")
    assert words in refusal(lambda: manager.cancel(7))


def test_a_scancel_that_hangs_is_given_up_with_all_its_processes(shims, hurried, ended_processes):
    shims.put("scancel", HANGS)
    assert refusal(lambda: hurried.cancel(7)) == "scancel did not answer within 1 s"
    ended_processes += shims.pids
    assert len(shims.pids) == 2
