"""How a job's companions are told from other jobs in what Slurm lists; the lines are those of Slurm 22.05."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.slurm.companion_queue import (
    SEPARATOR,
    Listed,
    Times,
    cancel_command,
    end_command,
    listing_command,
    of_request,
    of_run,
    parse_listing,
    parse_times,
    strays,
)

COMMENT = "a node of the elastic job 7, request "


def line(*fields: object) -> str:
    return SEPARATOR.join(map(str, fields)) + "\n"


def listed(job_id: int, word: str | None = "RUNNING", *, submitted_at: int = 100, request: int | None = None) -> Listed:
    return Listed(job_id, submitted_at, word, node="node1", request=request)


def test_companions_are_read_as_slurm_lists_them():
    text = line(8, 100, "RUNNING", "None", "node1", "10:00", 700, f"{COMMENT}1")
    text += line(9, 101, "PENDING", "Resources", "", "UNLIMITED", 32000000, "rewritten")
    assert parse_listing(text, since=100) == (
        Listed(8, 100, "RUNNING", node="node1", ends_at=700, request=1),
        Listed(9, 101, "PENDING", reason="Resources"),
    )


def test_what_was_submitted_before_the_job_is_not_its_companion():
    text = line(8, 99, "RUNNING", "None", "node1", "10:00", 700, f"{COMMENT}1")
    assert parse_listing(text, since=100) == ()


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.text())
def test_no_comment_is_taken_for_a_companion_and_none_hides_one(comment):
    text = line(8, 100, "RUNNING", "None", "node1", "10:00", 700, comment.replace(SEPARATOR, ""))
    assert {each.identity for each in parse_listing(text, since=0)} == {(8, 100)}


def test_commands_name_the_companions_and_their_owner_beside_the_numbers():
    whose = ["--name=flexmpi-7", "--user=1000"]
    assert listing_command("7", uid=1000)[-2:] == whose
    assert cancel_command("7", [8, 9], uid=1000) == ["scancel", "--quiet", *whose, "8", "9"]
    assert end_command(8, ends_at=700) == ["scontrol", "update", "JobId=8", "EndTime=uts700"]


def test_a_jobs_own_times_are_found_among_those_of_its_array():
    text = line(6, 90, "10:00", 690) + line(7, 100, "10:00", 700)
    assert parse_times("7", text) == Times(100, 700)
    assert parse_times("7", line(7, 100, "UNLIMITED", "NONE")) == Times(100, None)
    assert parse_times("7", "") is None


def test_a_companion_is_that_of_the_request_it_names_whatever_number_was_printed():
    own, others = listed(8, request=1), listed(9, request=2)
    assert of_request([own, others], 1, job_id=9) == own
    assert of_request([others], 1, job_id=9) is None


def test_a_companion_whose_comment_a_site_has_changed_is_known_by_its_number_or_by_where_its_launcher_is():
    assert of_request([listed(8)], 1, job_id=None, node="node1") == listed(8)
    assert of_request([listed(8)], 1, job_id=None, node="node2") is None
    assert of_request([listed(8)], 1, job_id=8) == listed(8)
    assert of_request([listed(8)], 1, job_id=None) is None


def test_of_several_companions_of_a_request_the_one_that_has_reported_counts_then_the_one_that_was_printed():
    first, second = listed(8, request=1), Listed(9, 100, "RUNNING", node="node2", request=1)
    assert of_request([first, second], 1, job_id=8, node="node2") == second
    assert of_request([first, second], 1, job_id=8) == first


def test_what_nobody_wants_is_cancelled_once_no_submission_can_account_for_it():
    wanted, unwanted, coming, unmarked = (listed(8, request=1), listed(9, request=2), listed(10, request=3), listed(11))
    every = [wanted, unwanted, coming, unmarked]
    assert strays(every, kept={wanted.identity}, under_way=[3]) == [unwanted]
    assert strays(every, kept={wanted.identity}, under_way=[]) == [unwanted, coming, unmarked]


def test_a_number_that_is_used_again_is_not_the_companion_that_had_it():
    before, after = listed(8, submitted_at=100, request=1), listed(8, submitted_at=200)
    assert strays([after], kept={before.identity}, under_way=[]) == [after]


@pytest.mark.parametrize("word", ["COMPLETING", "COMPLETED", "CANCELLED", "FAILED", None])
def test_what_is_over_or_ending_is_not_cancelled(word):
    assert strays([listed(8, word)], kept=(), under_way=()) == []


@pytest.mark.parametrize(
    ("companion", "words"),
    [
        (Listed(8, 100, "PENDING", reason="Resources"), "is PENDING (Resources)"),
        (Listed(8, 100, "PENDING"), "is PENDING"),
        (Listed(8, 100, "CANCELLED", reason="Resources"), "is CANCELLED"),
        (Listed(8, 100, "FAILED", reason="NonZeroExitCode", node="node1"), "is FAILED (NonZeroExitCode)"),
        (
            Listed(8, 100, "RUNNING", node="node1"),
            "has node1 and is RUNNING, but no launcher has reported from there: a prolog may still run",
        ),
        (Listed(8, 100, "RUNNING", node="node1").gone(), "is gone"),
    ],
)
def test_what_is_said_of_a_companion_names_what_it_waits_for(companion, words):
    assert companion.standing() == f"Slurm job 8 {words}"


def test_companions_of_another_run_in_the_same_job_are_not_a_runs_own():
    own, others, unnamed = listed(8, request=30_001), listed(9, request=70_001), listed(10)
    assert of_run((own, others, unnamed), 30_000) == (listed(8, request=1), unnamed)


def test_a_limit_that_no_release_writes_does_not_keep_a_companion_from_being_seen():
    (seen,) = parse_listing(line(8, 100, "RUNNING", "None", "node1", "?", 700, COMMENT + "1"), since=100)
    assert (seen.job_id, seen.ends_at) == (8, None)
