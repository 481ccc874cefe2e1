from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.cluster.platform import Node
from flexmpi.controller.batch import Agenda, Dropped, Progress, Resize, Start, When, read_batch
from flexmpi.controller.programs import Program
from flexmpi.controller.workload import Platform, Submission
from flexmpi.errors import ConfigurationError

PROGRAM = Program("jacobi", Path("jacobi.py"))
PLATFORM = Platform({"jacobi": PROGRAM}, (Node("compute-1", 12, "lhost"),))
APP = "jacobi:100:1:1:0:-1:50:2"
SUBMISSION = Submission(PROGRAM, 2)


def start(number: int, when: When, of: int) -> Start:
    return Start(number, SUBMISSION, when, of)


def test_a_batch_file_says_what_starts_when_and_what_changes(tmp_path: Path) -> None:
    path = tmp_path / "batchfile.dat"
    path.write_text(f"# one\nT 0 {APP}\nM  5  +2 # later\nB 0 {APP}\nI 1 {APP}\nM 9 -1\n")
    entries = read_batch(path, platform=PLATFORM)
    assert [replace(e, submission=SUBMISSION) if isinstance(e, Start) else e for e in entries] == [
        start(0, When.TIME, 0),
        Resize(0, 5, 2),
        start(1, When.END, 0),
        start(2, When.INITIALISED, 1),
        Resize(2, 9, -1),
    ]


def test_its_applications_are_numbered_after_those_of_the_workload(tmp_path: Path) -> None:
    path = tmp_path / "batchfile.dat"
    path.write_text(f"B 1 {APP}\n")
    (entry,) = read_batch(path, platform=PLATFORM, first=2)
    assert isinstance(entry, Start)
    assert (entry.number, entry.predecessor) == (2, 1)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("T 5", "expected T SECONDS APP, B ID APP, I ID APP, or M SECONDS ±RANKS, got 'T 5'"),
        (f"X 5 {APP}", f"expected T SECONDS APP, B ID APP, I ID APP, or M SECONDS ±RANKS, got 'X 5 {APP}'"),
        (f"T soon {APP}", "seconds must be an integer, 0 or more, got 'soon'"),
        (f"T -1 {APP}", "seconds must be an integer, 0 or more, got '-1'"),
        (f"B one {APP}", "id must be an integer, 0 or more, got 'one'"),
        (f"B 1 {APP}", "id must be that of an earlier application (0 to 0), got 1"),
        ("M 5 more", "change of ranks must be an integer other than 0, got 'more'"),
        ("M 5 0", "change of ranks must be an integer other than 0, got '0'"),
        ("T 5 jacobi:1:2", "expected NAME:SIZE:CPU:COM:IO:IOACTION:ITERATIONS:RANKS, got 'jacobi:1:2'"),
    ],
)
def test_what_is_wrong_with_a_batch_line_is_said_with_file_and_line(tmp_path: Path, line: str, expected: str) -> None:
    path = tmp_path / "bad.batch"
    path.write_text(f"T 0 {APP}\n{line}\n", encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        read_batch(path, platform=PLATFORM)
    assert str(caught.value) == f"batch file {path}, line 2: {expected}"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("M 5 1", "line 1: an application must come before the first M"),
        (f"B 0 {APP}", "line 1: id must be that of an earlier application (none, this is the first), got 0"),
        ("#", "no application in it"),
    ],
)
def test_a_batch_must_begin_with_an_application(tmp_path: Path, content: str, expected: str) -> None:
    path = tmp_path / "bad.batch"
    path.write_text(content)
    with pytest.raises(ConfigurationError) as caught:
        read_batch(path, platform=PLATFORM)
    assert expected in str(caught.value)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["T", "B", "I", "M", "0", "1", "-1", "+2", APP, "#", "\n", "\f", "x"]), max_size=20))
def test_any_words_give_a_batch_without_forward_references_or_an_error_of_one_line(words: list[str]) -> None:
    path = BatchText(" ".join(words))
    try:
        entries = read_batch(path, platform=PLATFORM)  # type: ignore[arg-type]
    except ConfigurationError as error:
        assert "\n" not in str(error)
    else:
        numbers = [entry.number for entry in entries if isinstance(entry, Start)]
        assert numbers == list(range(len(numbers)))
        assert all(e.predecessor is None or e.predecessor < e.number for e in entries if isinstance(e, Start))


class BatchText:
    """Stands for a file that has this text."""

    def __init__(self, text: str) -> None:
        self._text = text

    def read_text(self, encoding: str) -> str:
        return self._text

    def __str__(self) -> str:
        return "text"


def test_a_start_at_a_time_is_due_once_that_time_has_come() -> None:
    agenda = Agenda([start(0, When.TIME, 5), start(1, When.TIME, 2)], began_s=100.0)
    assert agenda.due(101.9, {}) == []
    assert agenda.left_s(101.5, {}) == 0.5
    assert agenda.due(102.0, {}) == [start(1, When.TIME, 2)]
    assert agenda.starting == {0}
    assert agenda.due(200.0, {}) == [start(0, When.TIME, 5)]
    assert agenda.empty and agenda.left_s(200.0, {}) is None


def test_a_start_after_an_end_or_an_initialisation_waits_for_just_that() -> None:
    after_end, after_init = start(1, When.END, 0), start(2, When.INITIALISED, 0)
    agenda = Agenda([after_end, after_init], began_s=0.0)
    assert agenda.due(1e9, {}) == []
    assert agenda.due(1e9, {0: Progress(0.0)}) == []
    assert agenda.left_s(0.0, {0: Progress(0.0)}) is None
    assert agenda.due(1.0, {0: Progress(0.0, initialised=True)}) == [after_init]
    assert agenda.due(2.0, {0: Progress(0.0, initialised=True, ended=True)}) == [after_end]


def test_a_change_is_due_some_time_after_its_applications_start_but_not_before_its_loop() -> None:
    agenda = Agenda([Resize(0, 5, 2)], began_s=0.0)
    assert agenda.due(1e9, {}) == []
    assert agenda.due(1e9, {0: Progress(started_s=10.0)}) == []
    running = {0: Progress(started_s=10.0, initialised=True)}
    assert agenda.due(14.9, running) == []
    assert agenda.left_s(14.0, running) == 1.0
    assert agenda.due(15.0, running) == [Resize(0, 5, 2)]


def test_what_can_never_happen_is_dropped_with_the_reason_and_takes_what_waits_for_it_along() -> None:
    never, after, change = start(1, When.INITIALISED, 0), start(2, When.END, 1), Resize(2, 1, 1)
    agenda = Agenda([never, after, change, Resize(0, 9, 1)], began_s=0.0)
    assert agenda.due(0.0, {0: Progress(0.0, ended=True)}) == [
        Dropped(never, "application 0 ended before it was initialised"),
        Dropped(after, "application 1 was never started"),
        Dropped(change, "application 2 was never started"),
        Dropped(Resize(0, 9, 1), "application 0 has ended"),
    ]
    assert agenda.empty


def test_what_waits_for_an_application_that_could_not_be_started_is_dropped() -> None:
    agenda = Agenda([start(1, When.END, 0)], began_s=0.0)
    agenda.drop(0)
    assert [dropped.why for dropped in agenda.due(0.0, {})] == ["application 0 was never started"]  # type: ignore[union-attr]
