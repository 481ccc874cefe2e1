"""Writes a table of its iterations, and other outputs, in the folder ``--folder``, until there is a file ``until`` in it.

Rank 0 writes the table; each rank has a file of its own, with raw bytes, one that is appended to, and one that it opens twice at
the top and has closed again; each process has one, and all ranks of a world have one by its size. What is written at the top, and
when a world unwinds, is part of it.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from pathlib import Path

from mpi4py import MPI

import flexmpi

parser = argparse.ArgumentParser()
parser.add_argument("--folder", type=Path, required=True)
folder: Path = parser.parse_args().folder
rank = MPI.COMM_WORLD.rank

with flexmpi.session() as flex:
    flex.array("rows", (10,))
    with (
        flex.output(folder / "table.csv" if rank == 0 else os.devnull, newline="") as table,
        flex.output(folder / f"rank-{rank}", "wb", buffering=0) as own,
        flex.output(folder / f"pid-{os.getpid()}", buffering=1) as of_process,
        flex.output(folder / f"kept-{rank}", "a") as kept,
        flex.output(folder / f"of-{MPI.COMM_WORLD.size}", "a") as of_size,
    ):
        lines = csv.writer(table)
        lines.writerow(["iteration", "ranks"])
        table.flush()
        os.write(own.fileno(), b"top\n")
        kept.write("top\n")
        of_process.write("top\n")
        of_size.write("top\n")
        first = True
        for text in ("top", "again"):
            with flex.output(folder / f"closed-{rank}") as closed:
                print(text, file=closed)
        try:
            for iteration in flex.iterate(10**9):
                lines.writerow([iteration, flex.size])
                os.write(own.fileno(), b"%d\n" % iteration)
                if first:
                    first = False
                    of_process.write(f"from {iteration}\n")
                if iteration == 0:
                    kept.write("first iteration\n")
                if rank == 0 and iteration == 0:
                    assert table.name == str(folder / "table.csv")
                if flex.comm.bcast((folder / "until").exists()):
                    flex.stop()
                time.sleep(0.001)
            lines.writerow(["end", flex.size])
        finally:
            lines.writerow(["unwound", flex.size])
            table.flush()
            os.write(own.fileno(), b"unwound\n")
