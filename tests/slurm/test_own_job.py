"""What a Slurm job learns of itself, and what a companion inherits; the lines are those of Slurm 22.05."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from flexmpi.errors import ConfigurationError, ManagerError
from flexmpi.slurm import json_output
from flexmpi.slurm.commands import sbatch_command, sbatch_input
from flexmpi.slurm.companion import companion, name_of_companion, parent_of
from flexmpi.slurm.own_job import (
    ParentJob,
    is_exclusive,
    output_folder,
    parent_format,
    parse_cores,
    parse_counts,
    parse_parent,
    parse_time_left,
    symbols_of,
)

MARK = "<0123456789abcdef>"
ASKED = {
    "%A": "7",
    "%P": "main",
    "%a": "physics",
    "%q": "normal",
    "%v": "ours",
    "%f": "intel|amd",
    "%b": "gres:gpu:2,gres:disk:1",
    "%m": "500M",
    "%F": "7",
    "%K": "N/A",
    "%u": "ann",
    "%j": "job.sh",
    "%Z": "/home/u/run",
}
NOTHING = ASKED | dict.fromkeys(("%a", "%q", "%v", "%f"), "(null)") | {"%b": "N/A", "%m": "0"}
OUTPUT = "/home/u/out/slurm-%j.out"
HOSTILE = "a\nJobId=7 OverSubscribe=OK StdOut=/x/y MinMemoryNode=7M MinMemoryCPU=8M \x1f|;"


def told(*records: dict[str, str]) -> str:
    """Fill in the format as squeue does."""
    form = parent_format(MARK).split(MARK)
    return "".join(MARK.join(record.get(field, field) for field in form) + "\n" for record in records)


def in_text(*records: dict[str, str], output: str = OUTPUT, per_core: bool = False) -> ParentJob:
    return parse_parent(
        "7", told(*records), MARK, output=output.ljust(4096) + "\n", exclusive=True, memory_is_per_core=per_core
    )


def in_json(release: str, **changed: object) -> ParentJob:
    """Read a recorded job, of which something is told differently."""
    text = (Path(__file__).with_name("data") / release / "squeue.json").read_text()
    document = json.loads(text)
    (record,) = [record for record in document["jobs"] if record["job_id"] == 7]
    record |= changed
    return json_output.parse_parent(json.dumps(document), "7", exclusive=True, source="squeue")


LAUNCHER = ("python3", "-m", "launcher")


def arguments(parent: ParentJob, node: str | None = None, *, time_left_s: int | None = None) -> list[str]:
    return sbatch_command(companion(parent, node, time_left_s=time_left_s, launcher=LAUNCHER, environment={"KEY": "k"}))


def test_a_companion_inherits_what_a_site_enforces_and_the_time_that_is_left():
    parent = in_text(ASKED)
    assert parent.output_folder == Path("/home/u/out")
    assert arguments(parent, "node3", time_left_s=93784) == [
        *("sbatch", "--parsable", "--export=ALL", "--mail-type=NONE", "--nodes=1", "--ntasks=1", "--nodelist=node3"),
        *("--partition=main", "--account=physics", "--qos=normal", "--reservation=ours", "--constraint=intel|amd"),
        *("--mem=500M", "--gres=gpu:2,disk:1", "--time=1563", "--signal=B:TERM@60", "--job-name=flexmpi-7"),
        *("--comment=a node of the elastic job 7", "--output=/home/u/out/flexmpi-7-%j.out"),
        *("--exclusive", "--no-requeue"),
    ]


def test_an_account_may_be_called_none():
    assert in_text(ASKED | {"%a": "none"}).account == in_json("24.11", account="none").account == "none"


def test_a_companion_of_a_job_that_asked_for_nothing_asks_for_nothing():
    asked = arguments(in_text(NOTHING, output=""))
    named = [
        word for word in asked if word.startswith(("--acc", "--qos", "--res", "--con", "--mem", "--gres", "--nodel"))
    ]
    assert named == []
    assert "--output=/home/u/run/flexmpi-7-%j.out" in asked


def test_memory_asked_for_each_core_is_asked_for_each_core_again():
    parent = in_text(ASKED | {"%m": "100M"}, per_core=True)
    assert [word for word in arguments(parent) if word.startswith("--mem")] == ["--mem-per-cpu=100M"]


def test_gres_is_asked_for_as_newer_releases_tell_it_too():
    assert in_text(ASKED | {"%b": "gres/gpu:2,gres/disk:1"}).gres == "gpu:2,disk:1"


@pytest.mark.parametrize(
    ("shares", "exclusive"), [("NO", True), ("OK", False), ("YES", False), ("USER", True), ("", True)]
)
def test_a_job_is_taken_for_exclusive_unless_slurm_says_that_it_shares(shares, exclusive):
    assert is_exclusive("7", f"8 OK\n7 {shares}\n17 YES\n") is exclusive


def test_a_companions_script_becomes_the_launcher_and_its_secrets_are_in_the_environment():
    job = companion(in_text(ASKED), None, time_left_s=60, launcher=LAUNCHER, environment={"KEY": "k"})
    assert sbatch_input(job) == "#!/bin/sh\nexec python3 -m launcher\n"
    assert job.environment == {"KEY": "k"}


def test_a_companion_is_known_by_its_name_and_no_other_job_is():
    assert parent_of(name_of_companion("4294967294")) == 4294967294
    others = ("flexmpi-", "flexmpi-7 ", "flexmpi-7\n", "my-flexmpi-7", "flexmpi--7", f"flexmpi-{'7' * 5000}")
    assert [name for name in others if parent_of(name) is not None] == []


@pytest.mark.parametrize(("left_s", "limit"), [(59, "1"), (0, "1"), (179, "2"), (None, "UNLIMITED")])
def test_the_limit_of_a_companion_is_never_zero_which_slurm_takes_for_none(left_s, limit):
    asked = arguments(in_text(ASKED), time_left_s=left_s)
    assert f"--time={limit}" in asked
    assert not any(word.startswith("--signal") for word in asked), "too short for a warning, or no end to be warned of"


def test_the_last_element_of_a_job_array_is_told_from_the_others_that_share_its_number():
    other = ASKED | {"%A": "8", "%P": "other", "%F": "7", "%K": "1"}
    assert in_text(other, ASKED | {"%F": "7", "%K": "2"}).partition == "main"


FREE = ("%j", "%Z", "%a", "%f")


@pytest.mark.parametrize("field", FREE)
def test_no_text_of_a_user_is_taken_for_a_field(field):
    parent = in_text(ASKED | {field: HOSTILE}, ASKED | {"%A": "8", "%P": "other"})
    usual = in_text(ASKED)
    changed = {"%a": {"account": HOSTILE}, "%f": {"constraint": HOSTILE}}.get(field, {})
    assert parent == replace(usual, **changed)


@pytest.mark.parametrize("release", ["22.05", "24.11", "26.05"])
def test_no_text_of_a_user_is_taken_for_a_field_of_any_release_that_prints_json(release):
    free = ("name", "comment", "admin_comment", "command", "state_description", "standard_error", "wckey")
    assert in_json(release, **dict.fromkeys(free, HOSTILE)) == in_json(release)


def number(release: str, value: int | None) -> object:
    return value if release == "22.05" else {"set": value is not None, "infinite": False, "number": value or 0}


@pytest.mark.parametrize("release", ["22.05", "24.11", "26.05"])
def test_what_companions_inherit_is_read_from_the_json_of_each_release(release):
    job: dict[str, object] = {
        "account": "physics", "qos": "normal", "resv_name": "ours", "features": "intel|amd",
        "tres_per_node": "gres/gpu:2,gres:disk:1", "standard_output": OUTPUT, "stdout_expanded": "",
        "current_working_directory": "/home/u/run",
        "memory_per_node": number(release, 500), "memory_per_cpu": number(release, None),
    }  # fmt: skip
    assert in_json(release, **job) == in_text(ASKED)
    by_core = job | {
        "memory_per_node": number(release, None),
        "memory_per_cpu": number(release, 100),
    }
    parent = in_json(release, **by_core)
    assert (parent.memory, parent.memory_per_core) == (None, "100M")


@pytest.mark.parametrize(
    ("pattern", "folder"),
    [
        ("", "/home/u/run"),
        ("out", "/home/u/run"),
        ("logs/%j.out", "/home/u/run/logs"),
        ("/d/%x/%4j-%u-%A/o", "/d/na%me/0007-ann-7"),
        ("/d/%%j/o", "/d/%j"),
        ("/d/100%/o", "/d/100%"),
        ("/d/%q/o", "/d/%q"),
        ("/d/a\\\\b%j/o", "/d/a\\b%j"),
        ("/dev/null", None),
    ],
)
def test_the_folder_of_the_output_is_the_one_slurm_writes_in(pattern, folder):
    symbols = symbols_of("7", array="7", task=None, name="na%me", user="ann")
    assert output_folder(pattern, "/home/u/run", symbols) == (folder and Path(folder))


@pytest.mark.parametrize(
    ("folder", "output"),
    [
        (Path("/d/100%j x"), "/d/100%%j x/flexmpi-7-%j.out"),
        (Path("/d/a\\b"), "flexmpi-7-%j.out"),
        (None, "/dev/null"),
    ],
)
def test_nothing_in_a_folders_name_stands_for_anything_in_a_companions_output(folder, output):
    assert f"--output={output}" in arguments(replace(in_text(ASKED), output_folder=folder))


@pytest.mark.parametrize(
    ("text", "counts"), [("4", [4]), ("4(x2)", [4, 4]), ("4(x2),2,16(x1)", [4, 4, 2, 16]), ("", [])]
)
def test_cores_are_read_node_by_node(text, counts):
    assert parse_counts(text) == counts


def test_cores_in_another_form_are_refused():
    with pytest.raises(ConfigurationError, match="four"):
        parse_counts("four")


def test_cores_of_a_partition_are_read():
    assert parse_cores("node0|4\nnode1|16\n") == {"node0": 4, "node1": 16}


def test_what_squeue_says_of_no_job_is_an_error():
    with pytest.raises(ConfigurationError, match="of job 7"):
        in_text(ASKED | {"%A": "8"})
    with pytest.raises(ManagerError, match="nothing of job 99"):
        json_output.parse_parent('{"jobs": []}', "99", exclusive=True, source="squeue")


@pytest.mark.parametrize(
    ("said", "left_s"),
    [
        ("7 10:00 1600\n", 600),
        ("7 INVALID 43201000\n", 43200000),
        ("7 INVALID 900\n", -100),
        ("7 0:00 990\n", -10),
        ("7 UNLIMITED 31537000\n", None),
        ("7 Partition_Limit N/A\n", None),
        ("8 10:00 1100\n7 20:00 2200\n", 1200),
    ],
)
def test_the_time_that_is_left_is_told_by_the_limit_and_the_end(said, left_s):
    assert parse_time_left("7", said, now=1000.0) == left_s


@pytest.mark.parametrize(
    "said", ["", "8 10:00 1600\n", "7 10:00\n", "7 soon 1600\n", "7 10:00 soon\n", "7 10:00 N/A\n"]
)
def test_what_is_no_time_left_is_refused(said):
    with pytest.raises(ManagerError, match="says"):
        parse_time_left("7", said, now=1000.0)
