"""Makes what programs make of MPI.COMM_WORLD at their top, in every world anew, and checks in each iteration that it works.

That is a window, a file, a ring of processes, two groups; and messages from any source. Ends in the iteration after the file
``stop`` appears in the folder ``--folder``, where the ranks' own file lies too.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from mpi4py import MPI

import flexmpi

parser = argparse.ArgumentParser()
parser.add_argument("--folder", type=Path, required=True)
options = parser.parse_args()

world = MPI.COMM_WORLD
rank, size = world.rank, world.size


class Tools:
    """What is made of this world."""

    def __init__(self) -> None:
        self.window = MPI.Win.Allocate(8, 8, comm=world)
        self.cell = np.frombuffer(self.window, dtype=np.int64)
        name = options.folder / f"world-{world.bcast(time.monotonic_ns())}"
        access = MPI.MODE_CREATE | MPI.MODE_RDWR | MPI.MODE_DELETE_ON_CLOSE
        self.file = MPI.File.Open(world, str(name), access)
        self.ring = world.Create_cart([size], periods=[True])
        self.half = world.Split(rank % 2, -rank)

    def check(self, iteration: int) -> None:
        self.check_messages(iteration)
        left, right = self.ring.Shift(0, 1)
        assert self.ring.sendrecv((self.ring.rank, iteration), dest=right, source=left) == (left, iteration)
        assert self.half.allgather(rank) == [other for other in reversed(range(size)) if other % 2 == rank % 2]
        value, neighbour = np.array([1000 * iteration + rank], dtype=np.int64), (rank + 1) % size
        self.window.Fence()
        self.window.Put(value, neighbour)
        self.window.Fence()
        assert self.cell[0] == 1000 * iteration + (rank - 1) % size
        found = np.zeros(1, dtype=np.int64)
        self.file.Write_at_all(8 * rank, value)
        self.file.Sync()
        world.Barrier()
        self.file.Read_at_all(8 * neighbour, found)
        assert found[0] == 1000 * iteration + neighbour
        world.Barrier()

    def check_messages(self, iteration: int) -> None:
        """Receive two small messages of each rank as they come."""
        if rank:
            for number in range(2):
                world.send((rank, number, iteration), dest=0)
            return
        received = [world.recv(source=MPI.ANY_SOURCE) for _ in range(2 * (size - 1))]
        assert sorted(received) == [(other, number, iteration) for other in range(1, size) for number in range(2)]

    def close(self) -> None:
        self.cell = np.empty(0, dtype=np.int64)
        self.window.Free()
        self.file.Close()
        self.ring.Free()
        self.half.Free()


tools = Tools()
try:
    with flexmpi.session() as flex:
        assert (flex.rank, flex.size) == (rank, size)
        counts = flex.array("counts", (64,), np.int64)
        for iteration in flex.iterate(10**9):
            assert (counts.local == iteration).all()
            counts.local += 1
            tools.check(iteration)
            if world.bcast((options.folder / "stop").exists()):
                flex.stop()
        if flex.rank == 0:
            print("all was right")
except SystemExit:
    tools.close()
    raise
tools.close()
