"""The agent's memory on disk: what was decided and what came of it, the settings people changed, what jobs have used.

An SQLite file in WAL mode, for one agent at a time. A decision is on disk before anything is sent: what is open when an
agent starts was left so by the one before. What to make of it is the agent's; nothing here decides or sends.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from flexmpi.protocol.messages import Cost
from flexmpi.protocol.replies import HistoryRow, Outcome
from flexmpi.protocol.wire import one_line
from flexmpi.scheduler.ordering.journal_file import connect, explained, lock_file, transaction

LARGEST_BELIEVED_EPOCH = 2**62

_EPOCH = "epoch"
_COLUMNS = "id, decided_at, job_key, job_id, job_name, what, cause, outcome, why, cost, ended_at, epoch, command, uid"


def fresh_id() -> str:
    """Return an id that no decision had before."""
    return secrets.token_hex(8)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One decision. Times are seconds of the epoch.

    Attributes
    ----------
    id
        That of the command, where there is one.
    job_key, job_id, job_name
        The job it is about, if it is about one: what its supervisor calls it, the resource manager's number, and what people
        call it.
    what, cause
        What is to be done, and who or what wants it, for a person to read.
    why
        What came of it, where that needs a word.
    epoch
        That of the plan it belongs to.
    command
        The message to the job, as JSON; None where none is sent.
    uid
        Who asked for it; None where nobody did.
    """

    id: str
    decided_at: float
    job_key: str | None = None
    job_id: int | None = None
    job_name: str | None = None
    what: str
    cause: str
    outcome: Outcome = "open"
    why: str | None = None
    cost: Cost | None = None
    ended_at: float | None = None
    epoch: int
    command: str | None = None
    uid: int | None = None

    @property
    def job(self) -> str | None:
        """What people call the job: its number, or its place in a job array; its key where it has none."""
        return self.job_name or (self.job_key if self.job_id is None else str(self.job_id))


class Journal:
    """An open journal; it is used from the thread that opened it, and closed by `close` or ``with``.

    Every method raises JournalError where the file cannot be read or written any more.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: int) -> None:
        self.path = path
        self._connection = connection
        self._lock = lock

    @classmethod
    def open(cls, path: Path) -> Journal:
        """Open a journal, or begin one where there is no file.

        Raises
        ------
        JournalError
            Another agent has it open, a newer FlexMPI has written it, it cannot be written, or it is damaged or no journal.
        """
        lock = lock_file(path)
        try:
            with explained(path):
                return cls(path, connect(path), lock)
        except BaseException:
            os.close(lock)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file. What was recorded is on disk already."""
        with suppress(sqlite3.Error):
            self._connection.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    # Decisions.

    def record(self, entry: Entry) -> None:
        """Write a decision down; when this returns it is on disk, and its command may be sent."""
        values = vars(entry) | {
            "what": one_line(entry.what),
            "cause": one_line(entry.cause),
            "why": _line(entry.why),
            "cost": _json(entry.cost),
        }
        named = ", ".join(f":{column}" for column in _COLUMNS.split(", "))
        with explained(self.path):
            self._connection.execute(f"INSERT INTO decisions ({_COLUMNS}) VALUES ({named})", values)

    def begin(self, entry: Entry) -> None:
        """Write down that the turn of an open decision has come: when, what is to be done now, and the command."""
        with explained(self.path):
            self._connection.execute(
                "UPDATE decisions SET decided_at = :decided_at, what = :what, epoch = :epoch, command = :command "
                "WHERE id = :id AND outcome = 'open'",
                vars(entry) | {"what": one_line(entry.what)},
            )

    def close_entry(
        self, entry_id: str, outcome: Outcome, *, why: str | None = None, cost: Cost | None = None, at: float
    ) -> bool:
        """Write down what came of a decision, and return whether it was open; one that was not stays as it is."""
        with explained(self.path):
            closed = self._connection.execute(
                "UPDATE decisions SET outcome = ?, why = ?, cost = ?, ended_at = ? WHERE id = ? AND outcome = 'open'",
                (outcome, _line(why), _json(cost), at, entry_id),
            )
        return closed.rowcount > 0

    def open_entries(self) -> tuple[Entry, ...]:
        """Return the decisions of which nothing has come yet, the oldest first."""
        with explained(self.path):
            rows = self._connection.execute(
                f"SELECT {_COLUMNS} FROM decisions WHERE outcome = 'open' ORDER BY number"
            ).fetchall()
            return tuple(map(_entry, rows))

    def history(self, job: str | None = None, *, entries: int = 1000) -> tuple[HistoryRow, ...]:
        """Return the last decisions as people are shown them, the newest last.

        Parameters
        ----------
        job
            Only those about it: its number, which may be that of a job array, its place in one, or its key.
        """
        which, values = "", tuple[str | int | None, ...]()
        if job is not None:
            number = _number(job)
            of_array = () if number is None else (f"{number}_", f"{number}`")  # all that begins with the first
            which = "WHERE job_key = ? OR job_id = ? OR job_name = ?"
            which += " OR (job_name >= ? AND job_name < ?)" if of_array else ""
            values = (job, number, job, *of_array)
        with explained(self.path):
            rows = self._connection.execute(
                f"SELECT {_COLUMNS} FROM decisions {which} ORDER BY number DESC LIMIT ?", (*values, entries)
            ).fetchall()
            return tuple(_history_row(_entry(row)) for row in reversed(rows))

    def prune(self, *, before: float, at_most: int) -> int:
        """Remove the oldest decisions that are over, and what jobs have used that were last seen before then.

        Parameters
        ----------
        before
            Seconds of the epoch.
        at_most
            So many decisions at once, the others later.

        Returns
        -------
        int
            How many decisions were removed.
        """
        with explained(self.path), transaction(self._connection):
            removed = self._connection.execute(
                "DELETE FROM decisions WHERE number IN (SELECT number FROM decisions "
                "WHERE decided_at < ? AND outcome != 'open' ORDER BY number LIMIT ?)",
                (before, at_most),
            )
            self._connection.execute("DELETE FROM usage WHERE updated < ?", (before,))
        return removed.rowcount

    # Settings.

    def next_epoch(self) -> int:
        """Return an epoch above all that were returned before, by earlier agents too."""
        with explained(self.path), transaction(self._connection):
            epoch = self._epoch() + 1
            self._set(_EPOCH, str(epoch))
        return epoch

    def raise_epoch(self, at_least: int) -> None:
        """Take note of an epoch that a job has seen, so that the next one is above it.

        Beyond `LARGEST_BELIEVED_EPOCH` that is not believed: one job with a wrong figure must not use up the numbers.
        """
        with explained(self.path), transaction(self._connection):
            self._set(_EPOCH, str(max(self._epoch(), min(at_least, LARGEST_BELIEVED_EPOCH))))

    def setting(self, name: str) -> str | None:
        """Return a setting; None where it has never been set."""
        with explained(self.path):
            row = self._connection.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def set_setting(self, name: str, value: str) -> None:
        """Keep a setting; when this returns it is on disk."""
        with explained(self.path):
            self._set(name, value)

    def _set(self, name: str, value: str) -> None:
        self._connection.execute(
            "INSERT INTO settings VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", (name, value)
        )

    def _epoch(self) -> int:
        row = self._connection.execute("SELECT value FROM settings WHERE name = ?", (_EPOCH,)).fetchone()
        return 0 if row is None else int(row[0])

    # Usage.

    def usage(self) -> dict[str, float]:
        """Return the node-seconds that each job has used, by its key."""
        with explained(self.path):
            return dict(self._connection.execute("SELECT job_key, node_seconds FROM usage").fetchall())

    def add_usage(self, node_seconds: Mapping[str, float], *, at: float) -> None:
        """Add to what jobs have used, all or none. A power failure may take the last seconds of it, and nothing else."""
        with explained(self.path):
            self._connection.execute("PRAGMA synchronous = NORMAL")
            try:
                with transaction(self._connection):
                    self._connection.executemany(
                        "INSERT INTO usage VALUES (?, ?, ?) ON CONFLICT (job_key) DO UPDATE SET "
                        "node_seconds = node_seconds + excluded.node_seconds, updated = excluded.updated",
                        [(key, seconds, at) for key, seconds in node_seconds.items()],
                    )
            finally:
                self._connection.execute("PRAGMA synchronous = FULL")


def _entry(row: tuple[object, ...]) -> Entry:
    values = dict(zip(_COLUMNS.split(", "), row, strict=True))
    if isinstance(cost := values["cost"], str):
        values["cost"] = Cost.model_validate_json(cost)
    return Entry(**values)  # type: ignore[arg-type]


def _history_row(entry: Entry) -> HistoryRow:
    return HistoryRow(
        **{
            name: getattr(entry, name)
            for name in ("id", "decided_at", "job", "what", "cause", "outcome", "why", "cost")
        }
    )


def _json(cost: Cost | None) -> str | None:
    return None if cost is None else cost.model_dump_json()


def _line(text: str | None) -> str | None:
    return None if text is None else one_line(text)


def _number(job: str) -> int | None:
    """Return a job's number, which SQLite can hold; None for a key, which is no number that any job has."""
    return int(job) if job.isascii() and job.isdecimal() and len(job) < 19 else None
