"""Runs a program whose loop goes on until the file ``UNTIL`` is there, however many iterations it asks for.

``endless.py UNTIL SCRIPT [ARGUMENTS]...``: so that a test gives its commands without racing against the program's end.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

from flexmpi.runtime.rank.session import Session

until = Path(sys.argv[1])
sys.argv = sys.argv[2:]
as_written = Session.iterate


def iterate_until(self: Session, _: int) -> Iterator[int]:
    for iteration in as_written(self, sys.maxsize):
        yield iteration
        if self.comm.bcast(until.exists()):
            self.stop()


Session.iterate = iterate_until  # type: ignore[method-assign]
runpy.run_path(sys.argv[0], run_name="__main__")
