"""Prints, in ranks that join later, a JSON line with what a program can see of itself; iterates until ``--until`` exists.

Where ``--touch`` names it, the program changes what is settled before a warm start: ``environment`` or ``rc``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import mpi4py

parser = argparse.ArgumentParser()
parser.add_argument("--until", type=Path, required=True)
parser.add_argument("--touch", default="nothing")
parser.add_argument(
    "--fail", type=int, default=-1, help="the process set that raises an exception when two have joined"
)
options = parser.parse_args()
if options.touch == "environment":
    os.environ["OMP_NUM_THREADS"] = "2"
elif options.touch == "rc":
    mpi4py.rc.recv_mprobe = False

import helper_of_introspecting  # noqa: E402 - what is set above must come before
import numpy as np  # noqa: E402
from mpi4py import MPI  # noqa: E402

import flexmpi  # noqa: E402
from flexmpi.runtime.rank.inheritance import told  # noqa: E402


def signal_sets() -> list[str]:
    """Return which signals are blocked, ignored and caught here."""
    return [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("Sig")][2:]


def seen() -> dict[str, object]:
    """Return what should not depend on how this rank was started."""
    return {
        "argv": sys.argv,
        "name": __name__,
        "file": sys.modules["__main__"].__dict__["__file__"],
        "path": sys.path,
        "flags": list(sys.flags),
        "folder": str(Path.cwd()),
        "environment": dict(os.environ),
        "rc": vars(mpi4py.rc),
        "level": MPI.Query_thread() == MPI.THREAD_MULTIPLE,
        "errors": MPI.COMM_WORLD.Get_errhandler() == MPI.ERRORS_RETURN,
        # Or its shim's, which is its parent.
        "own session": os.getsid(0) in (os.getpid(), os.getppid()),
        "signals": signal_sets(),
        "handlers": [str(signal.getsignal(number)).partition(" at ")[0] for number in signal.valid_signals()],
        "command": Path("/proc/self/cmdline").read_bytes().decode().split("\0"),
        "helper": helper_of_introspecting.NAME,
    }


def main() -> None:
    """Iterate."""
    pset = int(told["FLEXMPI_PSET"])
    if "FLEXMPI_JOINING" in told:
        draws = [random.random(), float(np.random.rand())]
        print(json.dumps({"pset": pset, "rank": MPI.COMM_WORLD.rank, "draws": draws, "seen": seen()}), flush=True)
    with flexmpi.session() as flex:
        for _ in flex.iterate(10**9):
            time.sleep(0.001)
            if options.fail == pset and flex.size == 3:
                raise RuntimeError("a failure of a member")
            if flex.comm.bcast(options.until.exists()):
                flex.stop()


if __name__ == "__main__":
    main()
