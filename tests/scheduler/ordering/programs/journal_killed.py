"""Does the same work with a journal again and again, in a child that kills itself before its 1st, 2nd, 3rd, … SQL statement.

usage: journal_killed.py FOLDER. The journal of each child is FOLDER/NUMBER.sqlite; one line of JSON a child tells what it
had been told is on disk, and whether it lived to the end of the work, which ends the program.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from flexmpi.scheduler.ordering.journal import Entry, Journal

connect = sqlite3.connect


def work(path: Path) -> Iterator[str]:
    """Yield a word for everything that has returned."""
    with Journal.open(path) as journal:
        yield "opened"
        yield f"epoch {journal.next_epoch()}"
        for name in ("first", "second"):
            journal.record(Entry(id=name, decided_at=1.0, job_key="key", what="expand", cause="test", epoch=1))
            yield f"recorded {name}"
        journal.close_entry("first", "done", at=2.0)
        yield "closed first"
        journal.raise_epoch(50)
        yield "epoch 50"
        journal.set_setting("mode", "on")
        yield "mode on"
        journal.add_usage({"key": 5.0, "other": 7.0}, at=3.0)
        yield "used"
        yield f"epoch {journal.next_epoch()}"


def child(path: Path, statement: int, report: int) -> None:
    statements = count(1)

    def trace(_: str) -> None:
        if next(statements) == statement:
            os.kill(os.getpid(), signal.SIGKILL)

    def traced(*arguments: object, **options: object) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)  # type: ignore[call-overload]
        connection.set_trace_callback(trace)
        return connection

    sqlite3.connect = traced  # type: ignore[assignment]
    for word in work(path):
        os.write(report, f"{word}\n".encode())


def main(folder: Path) -> None:
    for statement in count(1):
        reading, writing = os.pipe()
        if (pid := os.fork()) == 0:
            child(folder / f"{statement}.sqlite", statement, writing)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as report:
            returned = report.read().splitlines()
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(json.dumps({"statement": statement, "status": status, "returned": returned}), flush=True)
        if status != -signal.SIGKILL:
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]))
