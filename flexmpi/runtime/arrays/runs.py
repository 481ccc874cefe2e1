"""Runs of bytes: rows that follow each other in a block are one, so a message needs no MPI type of its own. numpy only."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

MESSAGE_LIMIT_BYTES = 1 << 30
"""Longer runs are cut, for many MPI calls count in 32 bits."""

Bytes = NDArray[np.uint8]


def bytes_of(block: NDArray[Any]) -> Bytes:
    """View a contiguous block as bytes (which serves any dtype, structured ones too)."""
    return block.reshape(-1).view(np.uint8) if block.nbytes else np.empty(0, dtype=np.uint8)


def pieces(run: Bytes, limit_bytes: int | None = None) -> Iterator[Bytes]:
    """Cut a run of bytes into messages; none for no bytes."""
    cuts = [*range(0, run.nbytes, limit_bytes or MESSAGE_LIMIT_BYTES), run.nbytes]
    return (run[start:stop] for start, stop in pairwise(cuts))
