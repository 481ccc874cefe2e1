"""Runs a program whose iterations take a while each, until the file ``UNTIL`` is there.

``unhurried.py UNTIL SCRIPT [ARGUMENTS]...``: so that a test gives its commands before a program that ends by its own data ends.
"""

from __future__ import annotations

import runpy
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from flexmpi.runtime.rank.session import Session

PAUSE_S = 0.2
until = Path(sys.argv[1])
sys.argv = sys.argv[2:]
sys.path.insert(0, str(Path(sys.argv[0]).parent))
as_written = Session.iterate


def iterate_slowly(self: Session, maximum: int) -> Iterator[int]:
    for iteration in as_written(self, maximum):
        if not until.exists():
            time.sleep(PAUSE_S)
        yield iteration


Session.iterate = iterate_slowly  # type: ignore[method-assign]
runpy.run_path(sys.argv[0], run_name="__main__")
