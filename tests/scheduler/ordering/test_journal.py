"""The agent's journal: what it keeps, what it refuses, and that no end of the agent spoils it."""

from __future__ import annotations

import json
import os
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flexmpi.errors import JournalError
from flexmpi.protocol.messages import Cost
from flexmpi.protocol.replies import HistoryRow
from flexmpi.scheduler.ordering.journal import LARGEST_BELIEVED_EPOCH, Entry, Journal, fresh_id
from tests.protocol.every_message import costs, integers, names, numbers, seconds, texts, uids

PROGRAMS = Path(__file__).parent / "programs"
LIMIT_S = 120
COST = Cost(start_s=0.5, join_s=0.1, balance_s=0.0, move_s=0.2, part_s=0.0, stall_s=0.3, moved_bytes=1000)
BOUNDED = settings(
    derandomize=True, deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "journal.sqlite"


@pytest.fixture
def journal(path) -> Iterator[Journal]:
    with Journal.open(path) as journal:
        yield journal


def entry(entry_id: str = "a1", **fields: object) -> Entry:
    return Entry(
        **{"decided_at": 1.0, "what": "expand 12 by node3", "cause": "fill", "epoch": 1, **fields}, id=entry_id
    )


def refused(path: Path) -> str:
    with pytest.raises(JournalError) as error:
        Journal.open(path)
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix(f"journal {path}: ")


# What it keeps.


def test_a_decision_is_open_until_it_is_closed(journal):
    first, second = entry("a1", job_id=12, job_key="k1", command='{"kind":"resize"}', uid=1000), entry("a2")
    journal.record(first)
    journal.record(second)
    assert journal.open_entries() == (first, second)
    assert journal.close_entry("a1", "failed", why="the job has ended", cost=COST, at=5.0)
    assert journal.open_entries() == (second,)
    row = HistoryRow(
        id="a1",
        decided_at=1.0,
        job="12",
        what=first.what,
        cause="fill",
        outcome="failed",
        why="the job has ended",
        cost=COST,
    )
    assert journal.history()[0] == row


def test_what_came_of_a_decision_first_stays(journal):
    journal.record(entry("a1"))
    journal.record(entry("a2", outcome="observed"))
    assert journal.close_entry("a1", "done", at=2.0)
    assert not journal.close_entry("a1", "failed", why="late", at=3.0)
    assert not journal.close_entry("a2", "done", at=3.0)
    assert not journal.close_entry("never-recorded", "done", at=3.0)
    assert [(row.outcome, row.why) for row in journal.history()] == [("done", None), ("observed", None)]


def test_two_decisions_cannot_have_the_same_id(journal):
    journal.record(entry("a1"))
    with pytest.raises(JournalError, match="UNIQUE"):
        journal.record(entry("a1", what="another"))
    assert journal.open_entries() == (entry("a1"),)


def test_a_decision_that_had_to_wait_gets_its_command_when_its_turn_comes_unless_it_is_over(journal):
    journal.record(entry("a1", command=None, epoch=1))
    begun = entry("a1", decided_at=9.0, what="job 12: add 1 node (node4)", epoch=5)
    journal.begin(begun)
    assert journal.open_entries() == (begun,)
    journal.close_entry("a1", "done", at=10.0)
    journal.begin(entry("a1", what="once more"))
    assert [row.what for row in journal.history()] == [begun.what]


def test_history_has_the_newest_last_and_at_most_so_many(journal):
    for number in range(5):
        journal.record(entry(f"a{number}", decided_at=10.0 - number))  # the order is that of recording, not of a clock
    assert [row.id for row in journal.history()] == ["a0", "a1", "a2", "a3", "a4"]
    assert [row.id for row in journal.history(entries=2)] == ["a3", "a4"]


def test_history_of_a_job_array_is_found_as_a_whole_and_by_each_place_in_it(journal):
    for name, job_id, job_name in (("a1", 27, "26_0"), ("a2", 26, "26_1"), ("a3", 260, "260"), ("a4", 261, "260_1")):
        journal.record(entry(name, job_id=job_id, job_name=job_name))
    assert [(row.id, row.job) for row in journal.history("26")] == [("a1", "26_0"), ("a2", "26_1")]
    assert [row.id for row in journal.history("26_1")] == ["a2"]
    assert [row.id for row in journal.history("27")] == ["a1"]
    assert journal.history("26_") == journal.history("2") == ()


def test_history_of_a_job_is_found_by_its_number_and_by_its_key(journal):
    journal.record(entry("a1", job_id=12, job_key="k1"))
    journal.record(entry("a2", job_id=13, job_key="k2"))
    journal.record(entry("a3", job_key="k3"))
    journal.record(entry("a4"))
    assert [row.id for row in journal.history("12")] == ["a1"]
    assert [row.id for row in journal.history("k2")] == ["a2"]
    assert [(row.id, row.job) for row in journal.history("k3")] == [("a3", "k3")]
    assert journal.history("9" * 30) == journal.history("0x0c") == ()


def test_old_decisions_are_removed_except_those_that_are_open(journal):
    for number in range(5):
        journal.record(entry(f"a{number}", decided_at=float(number), outcome="open" if number == 1 else "done"))
    journal.add_usage({"gone": 1.0}, at=2.0)
    journal.add_usage({"runs": 1.0}, at=3.0)
    assert journal.prune(before=3.0, at_most=1) == 1
    assert [row.id for row in journal.history()] == ["a1", "a2", "a3", "a4"]
    assert journal.prune(before=3.0, at_most=10) == 1
    assert [row.id for row in journal.history()] == ["a1", "a3", "a4"]
    assert journal.usage() == {"runs": 1.0}
    assert journal.prune(before=3.0, at_most=10) == 0


def test_a_text_of_several_lines_is_kept_as_one(journal):
    journal.record(entry("a1", what="two\nlines", cause="a\x1b[31mb\ud800c"))
    journal.close_entry("a1", "failed", why="sbatch: error:\n\tno", at=2.0)
    (row,) = journal.history()
    assert (row.what, row.cause, row.why) == ("two lines", "a [31mb c", "sbatch: error: no")


entries = st.builds(
    Entry,
    id=names,
    decided_at=seconds,
    job_key=st.none() | names,
    job_id=st.none() | numbers,
    what=texts,
    cause=texts,
    outcome=st.sampled_from(["open", "observed", "done", "failed"]),
    why=st.none() | texts,
    cost=st.none() | costs,
    ended_at=st.none() | seconds,
    epoch=integers,
    command=st.none() | texts,
    uid=st.none() | uids,
)


@BOUNDED
@given(decisions=st.lists(entries, max_size=5, unique_by=lambda one: one.id))
def test_whatever_is_recorded_is_there_for_the_next_agent(path, decisions):
    with Journal.open(path) as journal:
        before = {row.id for row in journal.history()}
        new = [one for one in decisions if one.id not in before]
        for one in new:
            journal.record(one)
    with Journal.open(path) as journal:
        rows = [row for row in journal.history() if row.id not in before]
        assert [(row.id, row.decided_at, row.outcome, row.job, row.cost) for row in rows] == [
            (one.id, one.decided_at, one.outcome, one.job, one.cost) for one in new
        ]
        still_open = [one for one in journal.open_entries() if one.id not in before]
        assert [(one.id, one.epoch, one.command, one.uid, one.job_key, one.job_id) for one in still_open] == [
            (one.id, one.epoch, one.command, one.uid, one.job_key, one.job_id) for one in new if one.outcome == "open"
        ]


def test_ids_are_new():
    assert len({fresh_id() for _ in range(1000)}) == 1000


@BOUNDED
@given(seen=st.lists(st.none() | st.integers(0, 2**63 - 1), max_size=12))
def test_every_epoch_is_above_all_before_it_and_all_that_jobs_have_seen(path, seen):
    with Journal.open(path) as journal:
        newest = journal.next_epoch()
    for one in seen:
        with Journal.open(path) as journal:
            if one is not None:
                journal.raise_epoch(one)
                assert journal.next_epoch() > min(one, LARGEST_BELIEVED_EPOCH)
            epoch = journal.next_epoch()
        assert newest < epoch < 2**63
        newest = epoch


def test_settings_are_kept(path):
    with Journal.open(path) as journal:
        assert journal.setting("mode") is None
        journal.set_setting("mode", "observe")
        journal.set_setting("mode", "on")
    with Journal.open(path) as journal:
        assert journal.setting("mode") == "on"


def test_usage_adds_up(path):
    with Journal.open(path) as journal:
        journal.add_usage({"k1": 1.5, "k2": 2.0}, at=1.0)
        journal.add_usage({}, at=1.5)
        journal.add_usage({"k1": 1.0}, at=2.0)
    with Journal.open(path) as journal:
        assert journal.usage() == {"k1": 2.5, "k2": 2.0}


def test_usage_is_added_for_all_jobs_or_for_none(journal):
    journal.add_usage({"k1": 1.0}, at=1.0)
    with pytest.raises(JournalError, match="NOT NULL"):
        journal.add_usage({"k1": 1.0, "k2": None}, at=2.0)
    assert journal.usage() == {"k1": 1.0}


def test_decisions_are_flushed_to_the_disk_after_usage_too(journal):
    journal.add_usage({"k1": 1.0}, at=1.0)
    assert journal._connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    assert journal._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_only_the_agent_can_read_it(tmp_path):
    path = tmp_path / "new folder" / "journal.sqlite"
    with Journal.open(path) as journal:
        journal.record(entry())
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == dict.fromkeys(
        ["journal.sqlite", "journal.sqlite.lock", "journal.sqlite-wal", "journal.sqlite-shm"], 0o600
    )


# One owner.


def test_a_second_agent_is_refused_while_the_first_has_it_open(path):
    with Journal.open(path):
        assert refused(path) == f"another agent (process {os.getpid()}) has it open"
        link = path.with_name("link")
        link.symlink_to(path)
        assert "has it open" in refused(link)
    Journal.open(path).close()


def test_a_journal_that_was_refused_is_not_locked(path):
    path.write_bytes(b"no database" * 100)
    refused(path)
    path.unlink()
    Journal.open(path).close()


def test_closing_twice_does_no_harm(path):
    journal = Journal.open(path)
    journal.close()
    journal.close()
    with pytest.raises(sqlite3.ProgrammingError):
        journal.open_entries()


# What it refuses.


def test_a_file_that_is_no_database_is_refused(path):
    path.write_bytes(b"[agent]\n" * 1000)
    assert refused(path) == "file is not a database"
    assert path.read_bytes() == b"[agent]\n" * 1000


def test_a_database_of_something_else_is_refused(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE settings (name)")
    assert refused(path) == "it is an SQLite database of another program"


@pytest.mark.parametrize("mode", [0o666, 0o620, 0o602])
def test_a_journal_that_others_can_change_is_refused(path, mode):
    Journal.open(path).close()
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(mode)
    assert refused(path) == f"others can change it (mode {mode:04o}): chmod go-w {path}"
    path.chmod(0o640)
    Journal.open(path).close()


def test_a_journal_of_a_newer_version_is_refused(path):
    Journal.open(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 3")
    assert refused(path) == "a newer FlexMPI has written it (version 3, expected at most 2)"


def test_a_journal_of_the_version_before_is_read_and_written_on(path):
    with Journal.open(path) as journal:
        journal.record(entry("a1", job_id=12))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP INDEX decisions_of_name")
        connection.execute("ALTER TABLE decisions DROP COLUMN job_name")
        connection.execute("PRAGMA user_version = 1")
    for name in ("a2", "a3"):
        with Journal.open(path) as journal:
            journal.record(entry(name, job_id=12, job_name="12"))
    with Journal.open(path) as journal:
        assert [row.id for row in journal.history("12")] == ["a1", "a2", "a3"]


def test_a_damaged_journal_is_refused(path):
    with Journal.open(path) as journal:
        for number in range(300):
            journal.record(entry(f"a{number}", what="x" * 100))
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096 * 2)
        file.write(b"\xa5" * (size - 4096 * 3))
    assert refused(path).startswith(("it is damaged: ", "database disk image is malformed"))


def test_a_journal_that_was_cut_off_is_refused(path):
    with Journal.open(path) as journal:
        for number in range(300):
            journal.record(entry(f"a{number}", what="x" * 100))
    os.truncate(path, path.stat().st_size // 2)
    assert refused(path).startswith(("it is damaged: ", "database disk image is malformed"))


@pytest.mark.parametrize(
    ("statement", "complaint"),
    [
        ("UPDATE decisions SET cost = '{}'", "somebody has changed it: decision, field start_s: is missing"),
        (
            "UPDATE decisions SET decided_at = 'x'",
            "somebody has changed it: decision, field decided_at: expected a valid",
        ),
        ("DROP TABLE decisions", "no such table: decisions"),
    ],
)
def test_a_journal_that_somebody_has_changed_is_named(path, statement, complaint):
    with Journal.open(path) as journal:
        journal.record(entry(outcome="done", cost=COST))
        journal._connection.execute(statement)
        with pytest.raises(JournalError) as error:
            journal.history()
    assert str(error.value).startswith(f"journal {path}: {complaint}")


def test_an_epoch_that_somebody_has_changed_is_not_taken_for_0(journal):
    journal.set_setting("epoch", "many")
    with pytest.raises(JournalError, match="somebody has changed it"):
        journal.next_epoch()


@pytest.mark.parametrize(
    ("place", "complaint"),
    [
        ("file/journal.sqlite", "its folder {0}/file is a file"),
        ("file/folder/journal.sqlite", "cannot open it: Not a directory"),
        ("folder", "cannot open it: Is a directory"),
        (
            "/proc/journal.sqlite",
            "cannot open it: No such file or directory",
        ),  # there nobody can make a file, root neither
    ],
)
def test_a_journal_that_cannot_be_made_is_named(tmp_path, place, complaint):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    assert refused(tmp_path / place) == complaint.format(tmp_path)


def test_a_journal_of_another_user_is_refused(path):
    """Root may open all files, so root tries as the user nobody."""
    Journal.open(path).close()
    if os.geteuid() != 0:
        path.chmod(0)
        assert refused(path) == "cannot open it: Permission denied"
        return
    lines = (
        "import os, sys",
        "from pathlib import Path",
        "from flexmpi.scheduler.ordering.journal import Journal",
        "os.setuid(65534)",
        "Journal.open(Path(sys.argv[1]))",
    )
    tried = run([sys.executable, "-c", "; ".join(lines), path])
    assert tried.stderr.splitlines()[-1].endswith("cannot open it: Permission denied")


def test_a_decision_that_did_not_reach_the_disk_is_not_taken_for_recorded(path):
    """A limit on the size of files stands for a full disk: both fail in the middle of a write."""
    with Journal.open(path) as journal:
        journal.record(entry("a1"))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, limits[1]))
        try:
            with pytest.raises(JournalError, match=r"^journal .*: (disk I/O error|database or disk is full)$"):
                journal.record(entry("a2", command="x" * 100_000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        assert journal.open_entries() == (entry("a1"),)
        journal.record(entry("a3"))
    with Journal.open(path) as journal:
        assert [one.id for one in journal.open_entries()] == ["a1", "a3"]


# kill -9.


def run(command: list[object]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=LIMIT_S, check=False, cwd=PROGRAMS
    )


def check_what_returned(journal: Journal, returned: list[str]) -> None:
    """What a call promised when it returned holds, whatever the one after it was doing."""
    outcomes = {row.id: row.outcome for row in journal.history()}
    checks: dict[str, Callable[[str], bool]] = {
        "opened": lambda _: True,
        "epoch": lambda epoch: journal.next_epoch() > int(epoch),
        "recorded": lambda name: name in outcomes,
        "closed": lambda name: outcomes[name] == "done",
        "mode": lambda mode: journal.setting("mode") == mode,
        "used": lambda _: journal.usage() == {"key": 5.0, "other": 7.0},
    }
    for word in returned:
        check, _, value = word.partition(" ")
        assert checks[check](value), word
    assert journal.usage() in ({}, {"key": 5.0, "other": 7.0})
    assert {one.id for one in journal.open_entries()} == {name for name, what in outcomes.items() if what == "open"}


def test_kill_9_before_any_statement_leaves_a_journal_that_keeps_its_promises(tmp_path):
    ended = run([sys.executable, PROGRAMS / "journal_killed.py", tmp_path])
    assert ended.returncode == 0, ended.stderr
    reports = [json.loads(line) for line in ended.stdout.splitlines()]
    assert reports[-1]["status"] == 0
    assert len(reports) > 25  # every table, every BEGIN and COMMIT and all between
    promised = 0
    for report in reports:
        with Journal.open(tmp_path / f"{report['statement']}.sqlite") as journal:
            check_what_returned(journal, report["returned"])
            journal.record(entry("after"))
            assert journal.close_entry("after", "done", at=2.0)
        assert len(report["returned"]) >= promised
        promised = len(report["returned"])
    assert promised == 9


def test_kill_9_at_any_time_loses_no_decision_and_frees_the_journal(path):
    """What the killed agent has started lives on, as jobs do, and does not keep the journal."""
    known: list[str] = []
    for writes in (1, 7, 40):
        path = path.with_name(f"after-{writes}.sqlite")
        with subprocess.Popen(
            [sys.executable, PROGRAMS / "journal_owner.py", path], stdout=subprocess.PIPE, text=True, cwd=PROGRAMS
        ) as owner:
            assert owner.stdout is not None
            left_behind = int(owner.stdout.readline())
            try:
                known = [owner.stdout.readline() for _ in range(writes)]
                assert f"another agent (process {owner.pid}) has it open" in refused(path)
                owner.kill()
                known += owner.stdout.readlines()
                assert owner.wait(LIMIT_S) == -signal.SIGKILL
                with Journal.open(path) as journal:
                    still_open = [f"{one.id} {one.epoch}\n" for one in journal.open_entries()]
                    # The last line may be cut off by the kill; the decision behind it is on disk all the same.
                    assert still_open[: len(known)] == known or still_open[: len(known) - 1] == known[:-1]
                    assert len(still_open) >= len(known)
                    assert journal.next_epoch() > len(still_open)
            finally:
                os.kill(left_behind, signal.SIGKILL)
