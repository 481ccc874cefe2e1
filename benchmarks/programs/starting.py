"""What a rank does before it is ready, piece by piece; imported pieces are timed by the rank itself. Prints one JSON line."""

from __future__ import annotations

import json
import sys
from time import CLOCK_MONOTONIC, clock_gettime

begun = clock_gettime(CLOCK_MONOTONIC)
import numpy  # noqa: E402, F401 - the order is what is measured

numpy_at = clock_gettime(CLOCK_MONOTONIC)
import mpi4py  # noqa: E402

mpi4py.rc.initialize = False
from mpi4py import MPI  # noqa: E402

mpi4py_at = clock_gettime(CLOCK_MONOTONIC)
MPI.Init_thread()
initialised_at = clock_gettime(CLOCK_MONOTONIC)
MPI.COMM_WORLD.Dup().Barrier()
ready_at = clock_gettime(CLOCK_MONOTONIC)
if MPI.COMM_WORLD.rank == 0:
    started = float(sys.argv[1])
    pieces = {
        "mpiexec and interpreter": begun - started,
        "import numpy": numpy_at - begun,
        "import mpi4py, load MPI": mpi4py_at - numpy_at,
        "MPI_Init": initialised_at - mpi4py_at,
        "first Dup and Barrier": ready_at - initialised_at,
    }
    print(json.dumps(pieces))
MPI.Finalize()
