"""A journal whose agent is killed: what it has recorded is there, and the next agent has it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable

from flexmpi.scheduler.ordering.journal import Journal
from tests.scheduler.ordering.journals import LIMIT_S, PROGRAMS, entry, refused, run


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
