"""Does an I/O phase in every iteration and notes in a file of its own when each began and ended.

Begins when as many applications as ``--meet`` says have come to this point.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import flexmpi

MEET_LIMIT_S = 30.0

parser = argparse.ArgumentParser()
parser.add_argument("--folder", type=Path, required=True, help="for the stamps of all applications")
parser.add_argument("--name", required=True, help="of this application's stamps")
parser.add_argument("--meet", type=int, default=1)
parser.add_argument("--phases", type=int, default=4)
parser.add_argument("--seconds", type=float, default=0.1)
options = parser.parse_args()

options.folder.mkdir(exist_ok=True)
stamps = options.folder / options.name
stamps.touch()
limit = time.monotonic() + MEET_LIMIT_S
while len(list(options.folder.iterdir())) < options.meet:
    assert time.monotonic() < limit, f"alone after {MEET_LIMIT_S} s"
    time.sleep(0.01)

with flexmpi.session() as flex:
    for _ in flex.iterate(options.phases):
        with flex.io(size_bytes=8):
            began = time.monotonic()
            time.sleep(options.seconds)
            ended = time.monotonic()
        with stamps.open("a") as noted:
            noted.write(f"{began} {ended}\n")
