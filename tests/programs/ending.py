"""Ends as its first argument says, in rank 1 or, with ``--all``, in all ranks: by an exit, a signal, an exception somewhere.

That happens in its sixth iteration of ten or, with ``--when``, as soon as a file is there.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("how")
parser.add_argument("--all", action="store_true")
parser.add_argument("--when", type=Path)
options = parser.parse_args()
how, _, value = options.how.partition(":")


def fail_here(where: str) -> None:
    if how == where and (options.all or MPI.COMM_WORLD.rank == 1):
        raise RuntimeError(f"a failure {where} the session")


if how == "import":
    import there_is_no_such_module  # noqa: F401

from mpi4py import MPI  # noqa: E402 - only after a failing import

import flexmpi  # noqa: E402

print(f"rank {MPI.COMM_WORLD.rank} is here")
fail_here("before")
with flexmpi.session() as flex:
    for iteration in flex.iterate(10 if options.when is None else 10**9):
        flex.comm.barrier()
        if flex.comm.bcast(options.when.exists()) if options.when else iteration == 5:
            fail_here("inside")
            if options.all or flex.rank == 1:
                if how == "exit":
                    sys.exit(int(value))
                if how == "text":
                    sys.exit(value)
                if how == "vanish":
                    os._exit(int(value))
                if how == "signal":
                    os.kill(os.getpid(), signal.Signals[value])
                if how == "abort":
                    MPI.COMM_WORLD.Abort(int(value))
            if options.when:
                flex.stop()
        if options.when:
            time.sleep(0.01)
fail_here("after")
print(f"rank {MPI.COMM_WORLD.rank} has done its work")
if how == "skip":
    sys.stdout.flush()
    # Without MPI.Finalize the first to end takes the others of its mpiexec along.
    MPI.COMM_WORLD.barrier()
    os._exit(0)
