"""Room for a whole array: rows keep their place, and only those that are held take memory."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.runtime.arrays import reservation
from flexmpi.runtime.arrays.reservation import HUGE_PAGE_BYTES, Reservation

FLOAT = np.dtype(np.float64)
PAGE = mmap.PAGESIZE // 8
"""Numbers in a page."""


def resident_bytes() -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in status if line.startswith("RssAnon:"))


def needs_room() -> None:
    if not reservation.possible():
        pytest.skip("this system counts address space as memory, so nothing is reserved")


def test_an_element_is_at_the_same_place_in_all_parts_that_have_it() -> None:
    needs_room()
    room = Reservation(100, FLOAT)
    first, second = room.part(10, 50), room.part(40, 100)
    assert room.in_place and not first.any() and (first.shape, second.shape) == ((40,), (60,))
    first[:] = np.arange(10, 50)
    assert second[:10].tolist() == list(range(40, 50)) and not second[10:].any()


@given(st.integers(0, 40 * PAGE), st.integers(0, 40 * PAGE))
@settings(derandomize=True, max_examples=50)
def test_what_is_kept_is_unchanged_and_the_pages_of_the_rest_are_given_back(one: int, other: int) -> None:
    needs_room()
    start, stop = sorted((one, other))
    room = Reservation(40 * PAGE, FLOAT)
    whole = room.part(0, 40 * PAGE)
    whole[:] = np.arange(40 * PAGE)
    room.keep_only(start, stop)
    assert (whole[start:stop] == np.arange(start, stop)).all()
    if start < stop:
        assert not whole[: max(0, start - PAGE)].any() and not whole[stop + PAGE :].any()
    else:
        assert not whole.any()


def test_only_what_is_held_takes_memory() -> None:
    needs_room()
    before = resident_bytes()
    room = Reservation(1 << 34, FLOAT)
    part = room.part(1 << 33, (1 << 33) + 8 * HUGE_PAGE_BYTES // 8)
    part[:] = 1
    assert 7 * HUGE_PAGE_BYTES < resident_bytes() - before < 12 * HUGE_PAGE_BYTES
    room.keep_only(0, 0)
    assert resident_bytes() - before < HUGE_PAGE_BYTES


def test_memory_that_was_got_ahead_holds_zeros_and_is_given_back() -> None:
    needs_room()
    before = resident_bytes()
    room = Reservation(1 << 30, FLOAT)
    room.populate(1000, 1000 + 2 * HUGE_PAGE_BYTES // 8)
    if resident_bytes() - before < HUGE_PAGE_BYTES:
        pytest.skip("this kernel does not get memory ahead (Linux does from 5.14 on)")
    assert not room.part(0, 4 * HUGE_PAGE_BYTES // 8).any()
    room.keep_only(0, 0)
    assert resident_bytes() - before < HUGE_PAGE_BYTES


@pytest.mark.parametrize("count", [0, 5])
def test_where_nothing_can_be_reserved_every_part_is_memory_of_its_own(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reservation, "possible", lambda: False)
    room = Reservation(count, FLOAT)
    first, second = room.part(0, count), room.part(0, count)
    first[:] = 1
    assert not room.in_place and not second.any() and second.shape == (count,)
    room.populate(0, count)
    room.keep_only(0, 0)


def test_more_than_there_is_address_space_is_not_reserved() -> None:
    assert not Reservation(1 << 60, FLOAT).in_place
