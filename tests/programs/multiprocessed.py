"""Keeps children of every kind that ``multiprocessing`` has, and programs of its own, while it iterates without end."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import time
from multiprocessing import shared_memory
from typing import Any

import flexmpi


def work(seconds: float) -> None:
    """Be busy."""
    time.sleep(seconds)


def main() -> None:
    """Start them all, then iterate."""
    context: Any = multiprocessing.get_context(sys.argv[1])
    with flexmpi.session() as flex:
        shared = shared_memory.SharedMemory(create=True, size=1000)
        pool = context.Pool(2)
        pool.map_async(work, [1000.0, 1000.0])
        manager = context.Manager()
        known = manager.dict()
        known["shared"] = shared.name
        subprocess.Popen(["sleep", "1000"], start_new_session=True)
        subprocess.run(["sh", "-c", "sleep 1000 & setsid sleep 1000 &"], check=True)
        for _ in flex.iterate(10**9):
            time.sleep(0.001)


if __name__ == "__main__":
    main()
