"""Newcomers declare other objects than the application, hold a value that cannot travel, or fail before they join.

``--newcomers`` says which. Ends in the iteration after the file ``--until`` appears.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import flexmpi

parser = argparse.ArgumentParser()
parser.add_argument("--until", type=Path, required=True)
parser.add_argument(
    "--newcomers", choices=["other-shape", "one-more", "unpicklable", "raise", "exit", "none"], default="none"
)
options = parser.parse_args()

with flexmpi.session() as flex:
    wrong = "" if flex.starting else options.newcomers
    if wrong == "raise":
        raise FileNotFoundError("this node has no input file")
    if wrong == "exit":
        raise SystemExit(3)
    x = flex.array("x", (11,) if wrong == "other-shape" else (10,))
    state = flex.state(value=(lambda: 0) if options.newcomers == "unpicklable" else 0)
    if wrong == "one-more":
        flex.replicated("one more", (2,))
    for _ in flex.iterate(1_000_000):
        assert flex.comm.allreduce(len(x.rows)) == 10
        if flex.comm.bcast(options.until.exists()):
            break
        time.sleep(0.001)
    if flex.rank == 0:
        print(f"went on, on {flex.size} ranks")
