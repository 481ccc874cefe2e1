"""The process that pyslurm lives in: one JSON object a line on standard input, one back on standard output.

A program of its own: it imports nothing of FlexMPI, so any Python that has the site's pyslurm can run it; and pyslurm, which is
GPL-2.0-only, shares a process with nothing else. A request is ``{"call", "limit_s", …}``, an answer ``{"result"}`` or
``{"error"}``; the first answer comes unasked, when it is ready.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

# What is asked of pyslurm's Job and Node, where this release of it has it.
JOB_FIELDS = (
    "id name user_id user_name state state_reason allocated_nodes num_nodes max_nodes partition account qos reservation "
    "constraints required_nodes excluded_nodes priority submit_time start_time end_time time_limit comment "
    "array_id array_task_id array_tasks_waiting"
).split()
NODE_FIELDS = (
    "name total_cpus threads_per_core state partitions active_features real_memory configured_gres reason".split()
)

GRACE_S = 5


def main() -> int:
    """Answer requests until there are no more."""
    # Where this file is there are modules that are none of pyslurm's; an older Python cannot be told to leave them out.
    sys.path[:] = [folder for folder in sys.path if Path(folder).resolve() != Path(__file__).resolve().parent]
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what Slurm's library prints must not come between the answers
    # Not in a module's head: without a Slurm configuration it ends the process.
    pyslurm = importlib.import_module("pyslurm")
    calls: dict[str, Callable[[Any, dict[str, Any]], Any]] = {"snapshot": snapshot, "submit": submit, "cancel": cancel}
    print(json.dumps({"result": str(pyslurm.version())}), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        # The library may hang with the interpreter's lock held; nobody may be left who would end this process.
        signal.alarm(int(request["limit_s"]) + GRACE_S)
        try:
            answer = {"result": calls[request["call"]](pyslurm, request)}
        except Exception as error:  # whatever it is, its words are the answer
            answer = {"error": str(error) or type(error).__name__}
        print(json.dumps(answer), file=answers, flush=True)
        signal.alarm(0)
    return 0


def snapshot(pyslurm: Any, _: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of all nodes and of all jobs."""
    nodes, jobs = pyslurm.Nodes.load(), pyslurm.Jobs.load()
    return {"nodes": _fields(nodes.values(), NODE_FIELDS), "jobs": _fields(jobs.values(), JOB_FIELDS)}


def submit(pyslurm: Any, request: dict[str, Any]) -> int:
    """Submit a job described by ``options``, with the text of its script in ``script``; return its number."""
    # Always as a file: a script that is given as its text may have no arguments, and not be long. In memory, so that nothing
    # of it stays where this process is killed.
    with os.fdopen(os.memfd_create("flexmpi-script"), "w", encoding="utf-8") as script:
        script.write(request["script"])
        script.flush()
        path = f"/proc/self/fd/{script.fileno()}"
        return int(pyslurm.JobSubmitDescription(**request["options"], script=path).submit())


def cancel(pyslurm: Any, request: dict[str, Any]) -> None:
    """Cancel a job."""
    # Its cancel() says nothing of a job that is not there.
    pyslurm.Job.load(request["job_id"])
    pyslurm.Job(request["job_id"]).cancel()


def _fields(records: Iterable[Any], names: list[str]) -> list[dict[str, Any]]:
    return [{name: _value(record, name) for name in names} for record in records]


def _value(record: Any, name: str) -> Any:
    """Return a field; None where this release of pyslurm has none, or cannot read it: generic resources counted as ``4G``."""
    try:
        return getattr(record, name, None)
    except (ValueError, IndexError):
        return None


if __name__ == "__main__":
    sys.exit(main())
