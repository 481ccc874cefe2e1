"""Counts on an MPI that has no dynamic processes: a fake one, made of MPICH by a port that cannot be opened, or a real one."""

from __future__ import annotations

import time

import numpy as np
from mpi4py import MPI

import flexmpi


def refuse(*arguments: object) -> str:
    raise MPI.Exception(MPI.ERR_UNSUPPORTED_OPERATION)


if MPI.get_vendor()[0] == "MPICH":
    MPI.Open_port = refuse

with flexmpi.session() as flex:
    counters = flex.array("counters", (10,), np.int64)
    for _ in flex.iterate(300):
        counters.local += 1
        flex.comm.barrier()
        time.sleep(0.002)
    assert (counters.local == 300).all()
    if flex.rank == 0:
        print(f"counted on {flex.size} ranks")
