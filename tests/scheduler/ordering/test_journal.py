"""The agent's journal: what it keeps, and for one agent at a time."""

from __future__ import annotations

import os
import sqlite3
import stat

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flexmpi.errors import JournalError
from flexmpi.protocol.replies import HistoryRow
from flexmpi.scheduler.ordering.journal import LARGEST_BELIEVED_EPOCH, Entry, Journal, fresh_id
from tests.protocol.every_message import costs, integers, names, numbers, seconds, texts, uids
from tests.scheduler.ordering.journals import COST, entry, refused

BOUNDED = settings(
    derandomize=True, deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


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
