"""Opens files at its top in many ways, in ``--folder``, and computes until there is a file ``until`` in it."""
# ruff: noqa: PTH123, SIM115 - the many ways are what it is about

from __future__ import annotations

import argparse
import ctypes
import io
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from mpi4py import MPI

import flexmpi

parser = argparse.ArgumentParser()
parser.add_argument("--folder", type=Path, required=True)
folder: Path = parser.parse_args().folder
os.chdir(folder)
rank = MPI.COMM_WORLD.rank
opened: list[object] = []


def open_in_c(name: str, flags: int) -> None:
    """Open a file as a library in C does, unseen by Python."""
    assert ctypes.CDLL(None).open(str(folder / name).encode(), flags | os.O_CREAT, 0o600) > 0


if rank == 0:
    opened.append(open("table.csv", "a"))  # warned of
    opened.append(os.open("raw", os.O_RDWR | os.O_CREAT))  # warned of
    opened.append(np.memmap("mapped", np.uint8, "w+", shape=(10,)))  # warned of
    Path("closed").write_text("closed again")  # warned of
    open_in_c("by C", os.O_WRONLY)  # warned of
    open_in_c("read by C", os.O_RDONLY)
    opened.append(open("table.csv"))
    opened.append(open(os.devnull, "w"))
    opened.append(tempfile.TemporaryFile())
    opened.append(os.memfd_create("memory"))
    opened.append(os.pipe())
    Path("done with").write_text("closed again")
else:
    Path(f"of rank {rank}").write_text("closed again")

with flexmpi.session() as flex:
    flex.array("rows", (10,))
    if rank == 0:
        opened.append(flex.output("output.csv"))
        # The first world has it open from here on, and its successors come by the line above first.
        opened.append(open("closed", "a") if flex.starting else None)
    for _ in flex.iterate(10**9):
        if flex.comm.bcast(Path("until").exists()):
            flex.stop()
        assert open is io.open and not hasattr(open, "__wrapped__") and not hasattr(os.open, "__wrapped__")
        with open("in the loop", "w") as file:
            file.write("nothing")
        time.sleep(0.001)
