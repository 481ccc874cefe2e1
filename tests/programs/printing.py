"""Prints: many lines on both ranks at once, a long one, bytes that are no text, and last lines without a newline."""

from __future__ import annotations

import argparse
import os
import sys

parser = argparse.ArgumentParser()
parser.add_argument("--lines", type=int, default=0)
parser.add_argument("--megabytes", type=int, default=0)
parser.add_argument("--mark", action="store_true")
options = parser.parse_args()
rank = int(os.environ["PMI_RANK"])
letter = "ab"[rank]

for number in range(options.lines):
    sys.stdout.write(letter * (1 + number * 7919 % 3000) + "\n")
if options.lines:
    print(letter * 300_000)
    print(f"{letter} on stderr", file=sys.stderr)
    sys.stdout.flush()
    os.write(1, b"\xff\xfe is no text\n")
    sys.stdout.write(letter * 50)
block = (letter * 1023 + "\n").encode() * 1024
for _ in range(options.megabytes):
    os.write(1, block)
