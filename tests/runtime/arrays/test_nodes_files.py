"""Files that a rank has asked for ahead are closed, whether it maps them or has nothing of them."""

from __future__ import annotations

import os

import numpy as np
import pytest
from mpi4py import MPI

from flexmpi.runtime.arrays.nodes_files import NodesFiles
from flexmpi.runtime.arrays.parts import Part


@pytest.mark.parametrize("is_mapped", [True, False])
def test_a_file_that_is_at_hand_is_not_open_any_more_when_rows_are_taken(is_mapped: bool) -> None:
    opened: list[int] = []

    def open_file(key: str, size_bytes: int) -> int:
        opened.append(os.memfd_create(key))
        os.truncate(opened[-1], size_bytes)
        return opened[-1]

    files, part = NodesFiles(MPI.COMM_SELF, ["here"], open_file), Part("x", 10, np.dtype(np.float64))
    files.have_at_hand([part])
    if is_mapped:
        assert files.room_of(part).part(0, 10).tolist() == [0.0] * 10
    files.let_go(part)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[0])
    assert len(opened) == 1
