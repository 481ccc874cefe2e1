"""Prints a JSON line with what the children of this process find, by each way in which a program starts one.

Under `flexmpi run` and plain ``python`` alike. Also: whether each child could be ended, and what standard input holds.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

STARTS = 20


def found() -> dict[str, Any]:
    """Return what this process has been started with."""
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    files = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            files[name] = str(Path(f"/proc/self/fd/{name}").readlink())
        except FileNotFoundError:
            continue
    return {
        # Without those above 31, which the C library has for itself.
        "ignored": int(status["SigIgn"], 16) & 0x7FFFFFFF,
        "blocked": int(status["SigBlk"], 16) & 0x7FFFFFFF,
        "environment": dict(os.environ),
        "files": files,
        "folder": str(Path.cwd()),
        "temporary": tempfile.gettempdir(),
    }


def find(queue: Any) -> None:
    """Be a child that tells what it finds."""
    queue.put(found())


def square(number: int) -> int:
    """Be of use in a pool."""
    return number * number


def of_multiprocessing(how: str) -> dict[str, Any]:
    """Return what a child finds that ``multiprocessing`` has started."""
    context: Any = multiprocessing.get_context(how)
    queue = context.Queue()
    child = context.Process(target=find, args=(queue,))
    child.start()
    told: dict[str, Any] = queue.get(timeout=60)
    child.join()
    return told


def of_a_program() -> dict[str, Any]:
    """Return what a program finds that is executed with all open files that it inherits."""
    program = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
    program += "import json, parenting; print(json.dumps(parenting.found()))"
    printed = subprocess.run([sys.executable, "-c", program], close_fds=False, stdout=subprocess.PIPE, check=True)
    told: dict[str, Any] = json.loads(printed.stdout)
    return told


def ended() -> dict[str, list[int | None]]:
    """Return how children end that are told to by SIGTERM, some of them as soon as they have been forked."""
    programs = [subprocess.Popen(["sleep", "1000"]) for _ in range(2)]
    for each in programs:
        each.terminate()
    forked = []
    for _ in range(STARTS):
        child = multiprocessing.Process(target=time.sleep, args=(1000,), daemon=True)
        child.start()
        child.terminate()
        child.join(20)
        forked.append(child.exitcode)
    with multiprocessing.Pool(2) as pool:
        assert pool.map(square, range(4)) == [0, 1, 4, 9]
    return {"programs": [each.wait(20) for each in programs], "forked": forked}


def main() -> None:
    """Look around before and after MPI is there."""
    before = found()
    early = of_a_program()
    from mpi4py import MPI

    import flexmpi

    world = "from mpi4py import MPI; print(MPI.COMM_WORLD.size, MPI.COMM_WORLD.allreduce(1))"
    with flexmpi.session() as flex:
        children = {how: of_multiprocessing(how) for how in ("fork", "spawn")} | {"program": of_a_program()}
        of_a_world = subprocess.run([sys.executable, "-c", world], stdout=subprocess.PIPE, timeout=60, check=True)
        told = {
            "rank": flex.rank,
            "before": before,
            "early": early,
            "children": children,
            "ended": ended(),
            "input": sys.stdin.read(),
            "world of a child": of_a_world.stdout.decode().split(),
            "handler": repr(signal.getsignal(signal.SIGTERM)),
        }
        for _ in flex.iterate(2):
            flex.comm.Barrier()
        print(json.dumps(told), flush=True)
        assert MPI.COMM_WORLD.size == flex.size


if __name__ == "__main__":
    main()
