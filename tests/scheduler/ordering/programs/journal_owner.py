"""Opens a journal, starts a process that outlives it, and writes decisions until it is killed, printing the id of each.

usage: journal_owner.py JOURNAL. The first line is the pid of the process that is left behind.
"""

from __future__ import annotations

import subprocess
import sys
from itertools import count
from pathlib import Path

from flexmpi.scheduler.ordering.journal import Entry, Journal


def main(path: Path) -> None:
    with Journal.open(path) as journal:
        print(subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL).pid, flush=True)
        for number in count():
            epoch = journal.next_epoch()
            journal.record(Entry(id=f"n{number}", decided_at=number, what="x" * 500, cause="test", epoch=epoch))
            print(f"n{number} {epoch}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
