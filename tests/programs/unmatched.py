"""Rank 0 sends the last rank a message that is never received; when that rank leaves, MPI cannot part from it."""

from __future__ import annotations

import time

import numpy as np

import flexmpi

with flexmpi.session() as flex:
    message = np.zeros(1 << 20)
    for iteration in flex.iterate(10**9):
        if iteration == 0 and flex.rank == 0:
            request = flex.comm.Isend(message, dest=flex.size - 1)
        flex.comm.barrier()
        time.sleep(0.001)
