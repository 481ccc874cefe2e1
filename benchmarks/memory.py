"""How much memory a job takes: what its processes have of their own, what its nodes' files hold, and the page tables."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.worlds import ElasticJob

EVERY_S = 0.02
BLOCK_BYTES = 512
OWN = ("Pss_Anon", "Pss_File")
"""The parts of a process's memory in ``smaps_rollup`` that are no file in memory; what several share is counted once in all."""


def used_bytes(job: ElasticJob) -> int:
    """Return the memory that a job takes now. A file in memory counts with what was written to it, whoever maps it."""
    processes = job.processes()
    return sum(_own_bytes(pid) for pid in processes) + sum(dict(_files(processes)).values())


def _own_bytes(pid: int) -> int:
    """Return a process's own memory with its page tables; 0 when it has ended."""
    kilobytes = 0
    with suppress(OSError):
        kilobytes += _sum_of(Path(f"/proc/{pid}/smaps_rollup"), OWN)
        kilobytes += _sum_of(Path(f"/proc/{pid}/status"), ("VmPTE",))
    return 1024 * kilobytes


def _sum_of(path: Path, names: Collection[str]) -> int:
    return sum(int(line.split()[1]) for line in path.read_text().splitlines() if line.partition(":")[0] in names)


def _files(processes: Collection[int]) -> Iterator[tuple[tuple[int, int], int]]:
    """Yield the memory of the nodes' files that processes have open, by what tells files apart."""
    for pid in processes:
        with suppress(OSError):
            for link in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError):
                    if str(link.readlink()).startswith("/memfd:flexmpi:"):
                        status = link.stat()
                        yield (status.st_dev, status.st_ino), BLOCK_BYTES * status.st_blocks


class Peak:
    """The most memory that a job takes while the ``with`` block lasts, looked at again and again.

    Attributes
    ----------
    bytes
        The largest figure.
    """

    def __init__(self, job: ElasticJob) -> None:
        self._job = job
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.bytes = 0

    def _look(self) -> None:
        while not self._over.wait(EVERY_S):
            self.bytes = max(self.bytes, used_bytes(self._job))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
