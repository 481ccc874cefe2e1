"""The file of the journal: its lock, its tables, and what is refused when it is opened."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import ValidationError

from flexmpi.errors import JournalError
from flexmpi.protocol.wire import complaint
from flexmpi.trust.guarded_files import WRITABLE_BY_OTHERS

VERSION = 2
APPLICATION = 0x666C6578  # "flex", which `file` shows: https://www.sqlite.org/pragma.html#pragma_application_id
BUSY_LIMIT_S = 5.0
"""How long to wait for somebody who looks into the file with another tool and has locked it."""

_TABLES = """
CREATE TABLE decisions (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    decided_at REAL NOT NULL,
    job_key TEXT,
    job_id INTEGER,
    job_name TEXT,
    what TEXT NOT NULL,
    cause TEXT NOT NULL,
    outcome TEXT NOT NULL CHECK (outcome IN ('observed', 'open', 'done', 'failed')),
    why TEXT,
    cost TEXT,
    ended_at REAL,
    epoch INTEGER NOT NULL,
    command TEXT,
    uid INTEGER
);
CREATE INDEX decisions_open ON decisions (number) WHERE outcome = 'open';
CREATE INDEX decisions_of_key ON decisions (job_key);
CREATE INDEX decisions_of_job ON decisions (job_id);
CREATE INDEX decisions_of_name ON decisions (job_name);
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE usage (job_key TEXT PRIMARY KEY, node_seconds REAL NOT NULL, updated REAL NOT NULL);
"""

_SINCE_1 = """
ALTER TABLE decisions ADD COLUMN job_name TEXT;
CREATE INDEX decisions_of_name ON decisions (job_name);
"""


def lock_file(path: Path) -> int:
    """Return the open lock file beside a journal: it is locked until it is closed, or this process ends in whatever way.

    Raises
    ------
    JournalError
        Another process has it, or it cannot be made.
    """
    beside = Path(os.path.realpath(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not the journal itself: closing it anywhere in the process would drop SQLite's own locks.
        lock = os.open(beside.with_name(f"{beside.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise JournalError(f"journal {path}: its folder {path.parent} is a file") from None
    except OSError as error:
        raise JournalError(f"journal {path}: cannot open it: {error.strerror or error}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.truncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError:
        owner = os.pread(lock, 20, 0).decode(errors="replace").strip()
        os.close(lock)
        raise JournalError(f"journal {path}: another agent{owner and f' (process {owner})'} has it open") from None
    except OSError as error:
        os.close(lock)
        raise JournalError(f"journal {path}: cannot lock it: {error.strerror or error}") from None
    return lock


def connect(path: Path) -> sqlite3.Connection:
    """Open the database, and make its tables where it has none, or what an earlier version had not.

    Raises
    ------
    JournalError, sqlite3.Error, OSError
        See `explained`.
    """
    # SQLite would say of all failures "unable to open database file", and give the file to the group.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    open_to = stat.S_IMODE(os.fstat(descriptor).st_mode)
    os.close(descriptor)
    if open_to & WRITABLE_BY_OTHERS:
        # The agent's mode and what it has promised are in it.
        raise JournalError(f"journal {path}: others can change it (mode {open_to:04o}): chmod go-w {path}")
    connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_LIMIT_S)
    try:
        _check(path, connection)
        if (mode := _pragma(connection, "journal_mode = WAL")) != "wal":
            raise JournalError(f"journal {path}: SQLite cannot use a write-ahead log there (it is in mode {mode})")
        connection.execute("PRAGMA synchronous = FULL")
        if (version := _pragma(connection, "user_version")) != VERSION:
            with transaction(connection):
                for statement in (_SINCE_1 if version == 1 else _TABLES).split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {APPLICATION}")
                connection.execute(f"PRAGMA user_version = {VERSION}")
    except BaseException:
        connection.close()
        raise
    return connection


def _check(path: Path, connection: sqlite3.Connection) -> None:
    """Refuse what is no journal, what this program is too old for, and what is damaged."""
    version = _pragma(connection, "user_version")
    is_empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if _pragma(connection, "application_id") != APPLICATION and not is_empty:
        raise JournalError(f"journal {path}: it is an SQLite database of another program")
    if isinstance(version, str) or version > VERSION:
        raise JournalError(
            f"journal {path}: a newer FlexMPI has written it (version {version}, expected at most {VERSION})"
        )
    if (found := _pragma(connection, "quick_check(1)")) != "ok":
        raise JournalError(f"journal {path}: it is damaged: {' '.join(str(found).split())}")


def _pragma(connection: sqlite3.Connection, what: str) -> str | int:
    return connection.execute(f"PRAGMA {what}").fetchone()[0]  # type: ignore[no-any-return]


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Have all statements take effect, or none."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # a full disk has rolled it back already
            connection.execute("ROLLBACK")
        raise


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Say in one line what is wrong with the file, whatever notices it; for reading and writing only."""
    try:
        yield
    except sqlite3.ProgrammingError:
        raise  # it is closed, or another thread's: a mistake of the caller
    except sqlite3.Error as error:
        raise JournalError(f"journal {path}: {error}") from None
    except OSError as error:
        raise JournalError(f"journal {path}: cannot open it: {error.strerror or error}") from None
    except ValueError as error:
        words = complaint(error, "decision") if isinstance(error, ValidationError) else str(error)
        raise JournalError(f"journal {path}: somebody has changed it: {words}") from None
