"""The schedule file, which the original FlexMPI calls ``malleability``: what is read, and what is wrong with it where."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.cluster.platform import Node, ScheduledChange
from flexmpi.configuration import read_schedule
from flexmpi.errors import ConfigurationError

NODES = (Node("compute-1", 12, "comp"), Node("compute-2", 12, "comp"), Node("fat", 48, "fat"))
bounded = settings(derandomize=True, deadline=None, max_examples=60)


def read(folder: Path, text: str | bytes) -> tuple[ScheduledChange, ...]:
    path = folder / "malleability"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_schedule(path, NODES)


def test_lines_are_read_in_the_order_of_the_file(tmp_path):
    text = "200:+4:comp:-1:fat\n\n# grow early\n50:2:compute-2 # one node\n 300 : -2 : localhost :\n"
    assert read(tmp_path, text) == (
        ScheduledChange(200, (("comp", 4), ("fat", -1))),
        ScheduledChange(50, (("compute-2", 2),)),
        ScheduledChange(300, (("localhost", -2),)),
    )


def test_a_file_of_windows_is_read_too(tmp_path):
    assert read(tmp_path, b"\xef\xbb\xbf10:1:fat\r\n20:-1:fat\r\n")[1] == ScheduledChange(20, (("fat", -1),))


changes = st.lists(
    st.tuples(st.sampled_from(["comp", "fat", "compute-1"]), st.integers(-999_999, 999_999)), min_size=1, max_size=5
).filter(lambda pairs: any(change for _, change in pairs))


@bounded
@given(st.lists(st.builds(ScheduledChange, st.integers(0, 10**9 - 1), changes.map(tuple)), min_size=1, max_size=5))
def test_what_is_written_is_read_back(tmp_path_factory, schedule):
    lines = [
        ":".join([str(each.at_iteration), *(f"{change:+}:{name}" for name, change in each.changes)])
        for each in schedule
    ]
    assert read(tmp_path_factory.getbasetemp(), "\n".join(lines)) == tuple(schedule)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("soon:1:comp", "iteration must be an integer, 0 or more, got 'soon'"),
        ("-5:1:comp", "iteration must be an integer, 0 or more, got '-5'"),
        ("1e3:1:comp", "iteration must be an integer, 0 or more, got '1e3'"),
        ("100:2x:comp", "the change must be a whole number of ranks, got '2x'"),
        ("100:+1.5:comp", "the change must be a whole number of ranks, got '+1.5'"),
        ("100:0:comp:+0:fat", "the line must change something, got only changes of 0"),
        ("100:2:gpu", "no node or alias 'gpu', expected one of comp, fat"),
        ("100:-2", "expected iteration:±n:alias:±n:alias…, got 2 fields"),
        ("100:2:comp:1", "expected iteration:±n:alias:±n:alias…, got 4 fields"),
        ("100", "expected iteration:±n:alias:±n:alias…, got 1 fields"),
    ],
)
def test_what_is_wrong_is_said_with_file_line_and_field(tmp_path, line, what):
    with pytest.raises(ConfigurationError) as refused:
        read(tmp_path, f"# a comment\n10:1:comp\n{line}\n")
    assert str(refused.value) == f"schedule {tmp_path / 'malleability'}, line 3: {what}"


LAYOUT = "iteration:±n:alias:±n:alias…"
COUNTS = "says how many ranks there are to be, not how many come or leave"


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("100:compute-1", "names hosts without a number: write '100:+1:compute-1' to add a rank on each"),
        (
            "100:compute-1:compute-2:",
            "names hosts without a number: write '100:+1:compute-1:+1:compute-2' to add a rank on each",
        ),
        ("100:8", f"{COUNTS}: write '100:±n:ALIAS' with the change"),
        ("100:8:4", f"{COUNTS}: write '100:±n:ALIAS' with the change"),
        ("100:comp:8", f"{COUNTS}: write '100:±n:comp' with the changes"),
        ("100:comp:8:fat:2", f"{COUNTS}: write '100:±n:comp:±n:fat' with the changes"),
    ],
)
def test_a_line_of_an_older_schedule_is_called_so_with_the_line_to_write(tmp_path, line, advice):
    with pytest.raises(ConfigurationError) as refused:
        read(tmp_path, f"10:1:comp\n{line}\n")
    where = f"schedule {tmp_path / 'malleability'}, line 2"
    got = repr(line.removesuffix(":"))
    assert str(refused.value) == f"{where}: expected {LAYOUT}, got {got}, a line of an older schedule, which {advice}"


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (
            "compute-1:12:comp:100:5170",
            "a line of a corefile (host:cores:alias…; a nodefile of the original's scripts is one): give it to --corefile",
        ),
        ("compute-1 slots=12", "a line of a hostfile of Open MPI (host slots=N)"),
    ],
)
def test_another_file_in_place_of_a_schedule_is_called_what_it_is(tmp_path, line, what):
    with pytest.raises(ConfigurationError) as refused:
        read(tmp_path, line)
    assert str(refused.value).endswith(f", line 1: expected {LAYOUT}, got {line!r}, {what}")


def test_a_schedule_of_comments_only_is_an_error(tmp_path):
    with pytest.raises(ConfigurationError) as refused:
        read(tmp_path, "# nothing\n\n")
    assert str(refused.value).endswith("malleability: no change in it, expected lines of iteration:±n:alias")


def test_a_file_that_is_not_there_or_is_no_text_is_an_error(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read: No such file or directory"):
        read_schedule(tmp_path / "missing", NODES)
    with pytest.raises(ConfigurationError, match="line 2: not UTF-8 text, got byte 0xff"):
        read(tmp_path, b"10:1:comp\n\xff\n")
