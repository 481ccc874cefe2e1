"""Slurm's lengths of time and moments, in all their forms, and the words in their place."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.errors import ManagerError
from flexmpi.slurm.times import is_limited, moment, seconds_of, time_left_s, time_limit_s

BOUNDED = settings(derandomize=True, deadline=None, max_examples=200)
WORDS = ("UNLIMITED", "INFINITE", "infinite", "NOT_SET", "Partition_Limit", "N/A", "n/a", "NONE", "None", "Unknown", "")
DAY_S = 24 * 3600


@BOUNDED
@given(st.integers(min_value=0, max_value=10**8))
def test_a_length_is_read_in_all_its_forms(seconds):
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    assert seconds_of(f"{days}-{hour:02}:{minute:02}:{second:02}") == seconds
    if days == 0:
        assert seconds_of(f"{hour:02}:{minute:02}:{second:02}") == seconds
    assert seconds_of(f"{minutes}:{second:02}") == seconds


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90 * 60), ("2-3", 51 * 3600), ("2-3:30", 51 * 3600 + 1800), ("500-0", 500 * DAY_S)]
)
def test_the_short_forms_mean_what_they_mean_to_sbatch(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["x", "1:x", "1-", "-1:00", "1:2:3:4", "1-2-3:00", "1-2:3:4:5", "1:-5", "-5", "1.5"])
def test_what_is_no_length_is_refused(text):
    assert seconds_of(text) is None
    with pytest.raises(ManagerError, match="expected days-hours:minutes:seconds"):
        is_limited(text)


@pytest.mark.parametrize("word", WORDS)
def test_each_word_for_no_time_is_none(word):
    assert moment(word) is None and not is_limited(word)
    assert time_limit_s(word, starts_at=1, ends_at=9) is None
    assert time_left_s(word, ends_at=9, now=5) is None


def test_a_moment_is_seconds_of_the_epoch():
    assert moment("1795442811") == 1795442811
    with pytest.raises(ManagerError, match="expected seconds of the epoch"):
        moment("2026-11-30T04:19:29")


def test_invalid_is_a_limit_of_more_than_a_year_and_its_length_is_told_by_start_and_end():
    assert is_limited("INVALID")
    assert time_limit_s("INVALID", starts_at=1000, ends_at=1000 + 500 * DAY_S) == 500 * DAY_S
    assert time_limit_s("INVALID", starts_at=None, ends_at=None) is None
    assert time_limit_s("10:00", starts_at=1000, ends_at=1100) == 600, "a limit that is told counts"


def test_what_is_left_is_told_by_the_end_and_is_below_zero_past_it():
    assert time_left_s("INVALID", ends_at=1000 + 500 * DAY_S, now=1000) == 500 * DAY_S
    assert time_left_s("1:00", ends_at=900, now=1000) == -100
    with pytest.raises(ManagerError, match="no end"):
        time_left_s("1:00", ends_at=None, now=1000)
