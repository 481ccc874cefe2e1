"""Iterates until the file ``--until`` exists, checking its data all the time; ranks that join later do as ``--newcomers`` says.

It is a list of actions, the n-th for the n-th process set that is started later; whoever comes behind its end just joins:
``kill:MS`` and ``stop:MS`` (SIGKILL, SIGSTOP so long after the rank begins to connect), ``freeze`` (SIGSTOP when Connect has
returned), ``sleep``, ``raise``, ``say``, ``exit`` and ``end`` (never to get to the loop).
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

import flexmpi
from flexmpi.runtime.joining import membership
from flexmpi.runtime.rank.inheritance import told

SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}

parser = argparse.ArgumentParser()
parser.add_argument("--until", type=Path, required=True)
parser.add_argument("--newcomers", default="")
options = parser.parse_args()
actions = options.newcomers.split(",")


def be_hit_while_connecting(number: signal.Signals, after_s: float) -> None:
    """Have this process hit by a signal so long after it begins to connect to the application."""
    connect = membership.connect

    def connect_and_be_hit(*arguments: Any) -> MPI.Intracomm:
        timer = threading.Timer(after_s, os.kill, (os.getpid(), number))
        timer.daemon = True
        timer.start()
        return connect(*arguments)

    membership.connect = connect_and_be_hit


def be_stopped_after_connecting() -> None:
    """Have this process stopped when it has connected, and has not merged yet."""
    merge = membership._merge

    def be_stopped_and_merge(bridge: MPI.Intercomm, *, high: bool) -> MPI.Intracomm:
        os.kill(os.getpid(), signal.SIGSTOP)
        return merge(bridge, high=high)

    membership._merge = be_stopped_and_merge


number = int(told["FLEXMPI_PSET"]) - 1 if "FLEXMPI_JOINING" in told else -1
match actions[number].split(":") if 0 <= number < len(actions) else [""]:
    case [("kill" | "stop") as kind, moment_ms]:
        sys.setswitchinterval(1e-4)
        be_hit_while_connecting(SIGNALS[kind], float(moment_ms) / 1000)
    case ["freeze"]:
        be_stopped_after_connecting()
    case ["sleep"]:
        time.sleep(1000)
    case ["raise"]:
        raise ValueError("this newcomer has no input")
    case ["say"]:
        sys.exit("no licence: the server is busy")
    case ["exit"]:
        sys.exit(3)
    case ["end"]:
        sys.exit()

with flexmpi.session() as flex:
    counters = flex.array("counters", (100,), np.int64)
    state = flex.state(iterations=0)
    for iteration in flex.iterate(10**9):
        assert (counters.local == iteration).all(), (iteration, counters.local)
        assert state.iterations == iteration
        counters.local += 1
        state.iterations += 1
        assert flex.comm.allreduce(len(counters.rows)) == 100
        time.sleep(0.001)
        if flex.comm.bcast(options.until.exists()):
            flex.stop()
    if flex.rank == 0:
        print(f"right on {flex.size} ranks")
