from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.cluster.platform import Node
from flexmpi.configuration import read_corefile
from flexmpi.controller.programs import Program, read_programs
from flexmpi.controller.workload import Platform, Submission, parse_placed, parse_sized, parse_submission, read_workload
from flexmpi.errors import ConfigurationError

SHIPPED = Path(__file__).parents[2] / "configuration_files"
JIO = Program("jio", Path("jacobi.py"), arguments=("--dim={size}", "--ranks={procs}"), defaults={"size": "500"})
NODES = (Node("compute-1", 12, "lhost"), Node("compute-2", 4, "rest"), Node("compute-3", 4, "rest"))
PLATFORM = Platform({"jio": JIO}, NODES)


def test_the_shipped_workload_is_the_manuals_two_applications() -> None:
    platform = Platform(
        read_programs(SHIPPED / "workloads" / "applications.toml"),
        read_corefile(SHIPPED / "corefiles" / "demo1.core"),
    )
    workload = read_workload(SHIPPED / "workloads" / "demo.workload", platform=platform)
    assert [(each.program.name, each.placement) for each in workload] == [
        ("jio", {"compute-1": 4}),
        ("jio", {"compute-1": 2}),
    ]
    assert workload[0].arguments == (
        "--dim=500", "--cpu-intensity=100", "--com-intensity=1", "--io-intensity=70", "--itmax=10000", "--diff-tol=0",
    )  # fmt: skip


def test_an_application_may_start_on_several_nodes_and_arguments_have_their_defaults() -> None:
    submission = parse_placed("jio: compute-2:1 :compute-1:3", platform=PLATFORM)
    assert (submission.ranks, list(submission.placement.items())) == (4, [("compute-2", 1), ("compute-1", 3)])
    assert submission.arguments == ("--dim=500", "--ranks=4")


@pytest.mark.parametrize("name", ["compute-1", "localhost", "lhost"])
def test_a_node_goes_by_its_name_by_localhost_or_by_an_alias_of_its_own(name: str) -> None:
    assert parse_placed(f"jio:{name}:2", platform=PLATFORM).placement == {"compute-1": 2}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("jio", "expected NAME:NODE:RANKS:NODE:RANKS…, got 'jio'"),
        ("jio:compute-1", "expected NAME:NODE:RANKS:NODE:RANKS…, got 'jio:compute-1'"),
        ("jio:compute-1:4:compute-2", "expected NAME:NODE:RANKS:NODE:RANKS…, got 'jio:compute-1:4:compute-2'"),
        ("oij:compute-1:4", "no application 'oij', expected one of jio"),
        ("jio:c9:4", "no node 'c9' in the corefile, expected one of compute-1, compute-2, compute-3"),
        ("jio:rest:4", "node must be one, got 'rest', the alias of 2 nodes"),
        ("jio:compute-1:0", "ranks on compute-1 must be 1 to its 12 cores, got '0'"),
        ("jio:compute-1:13", "ranks on compute-1 must be 1 to its 12 cores, got '13'"),
        ("jio:compute-1:-1", "ranks on compute-1 must be 1 to its 12 cores, got '-1'"),
        ("jio:compute-1:four", "ranks on compute-1 must be 1 to its 12 cores, got 'four'"),
        ("jio:compute-1:1:lhost:1", "node must be there once, got compute-1 again"),
    ],
)
def test_what_is_wrong_with_a_workload_line_is_said_with_file_and_line(
    tmp_path: Path, line: str, expected: str
) -> None:
    path = tmp_path / "bad.workload"
    path.write_text(f"# mine\njio:compute-1:4  # fine\n\n{line}\n", encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        read_workload(path, platform=PLATFORM)
    assert str(caught.value) == f"workload {path}, line 4: {expected}"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"# nothing\n", "no application in it, expected lines of NAME:NODE:RANKS:NODE:RANKS…"),
        (b"jio:\xff:4\n", "not UTF-8 text, got byte 0xff"),
    ],
)
def test_a_file_that_is_no_workload_is_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "bad.workload"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        read_workload(path, platform=PLATFORM)
    assert str(caught.value) == f"workload {path}: {expected}"


def test_a_missing_workload_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="none: cannot be read: No such file or directory"):
        read_workload(tmp_path / "none", platform=PLATFORM)


def test_an_application_of_a_batch_file_says_its_size_and_leaves_the_nodes_open() -> None:
    submission = parse_sized("jio:300:2:1:0:-0.5:40:3", platform=PLATFORM)
    assert (submission.ranks, submission.placement) == (3, {})
    assert submission.values == {
        "size": "300", "cpu": "2", "com": "1", "io": "0", "io_action": "-0.5", "iterations": "40",
    }  # fmt: skip
    assert submission.arguments == ("--dim=300", "--ranks=3")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("jio:1:1:1:0:0:1", "expected NAME:SIZE:CPU:COM:IO:IOACTION:ITERATIONS:RANKS"),
        ("no:1:1:1:0:0:1:1", "no application 'no'"),
        ("jio:x:1:1:0:0:1:1", "size must be an integer, 0 or more, got 'x'"),
        ("jio:1:1:1:0:0:-1:1", "iterations must be an integer, 0 or more, got '-1'"),
        ("jio:1:1:1:0:never:1:1", "io_action must be a number, got 'never'"),
        ("jio:1:1:1:0:0:1:0", "ranks must be 1 to the 20 cores of all nodes, got '0'"),
        ("jio:1:1:1:0:0:1:21", "ranks must be 1 to the 20 cores of all nodes, got '21'"),
    ],
)
def test_what_is_wrong_with_an_application_of_a_batch_file_is_said(text: str, expected: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_sized(text, platform=PLATFORM)
    assert str(caught.value).startswith(expected)


def test_the_number_of_fields_tells_which_kind_a_submission_is() -> None:
    assert parse_submission("jio:compute-1:4", platform=PLATFORM).placement == {"compute-1": 4}
    assert parse_submission("jio:1:1:1:0:0:1:5", platform=PLATFORM).ranks == 5


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["jio", "compute-1", "lhost", "4", "-1", "", " ", "x", "é", "1e9"]), max_size=9))
def test_any_fields_give_a_submission_that_fits_or_an_error_of_one_line(fields: list[str]) -> None:
    try:
        submission = parse_submission(":".join(fields), platform=PLATFORM)
    except ConfigurationError as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(submission, Submission)
        assert 1 <= submission.ranks <= sum(node.cores for node in NODES)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_text_at_random_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_submission(text, platform=PLATFORM)
