"""What the journal refuses: files that are none, that others can change, that are damaged or cannot be written."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import sys
from contextlib import closing

import pytest

from flexmpi.errors import JournalError
from flexmpi.scheduler.ordering.journal import Journal
from tests.scheduler.ordering.journals import COST, entry, refused, run


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
