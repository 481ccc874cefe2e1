"""Stands in for pyslurm where only the process around it is tested; what FAKE_PYSLURM names decides how it behaves.

It is found as `pyslurm` in the child, which a test gives this file's text under that name.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

_behaviour = Path(os.environ["FAKE_PYSLURM"])
with _behaviour.with_name("starts").open("a") as _starts:
    print(os.getpid(), file=_starts)
if _behaviour.read_text() == "no configuration":
    os.write(2, b"python: error: something else\npython: fatal: Could not establish a configuration source\n")
    os._exit(1)


def version() -> str:
    return "22.5.3"


class RPCError(Exception):
    pass


class _Collection(dict):
    @classmethod
    def load(cls):
        _behave()
        return cls()


class Node:
    name, total_cpus, threads_per_core, state, reason = "node0", 4, 1, "IDLE", ""
    partitions, active_features, real_memory = (), (), 1000

    @property
    def configured_gres(self) -> dict[str, int]:
        return {"bandwidth": int("4G")}


class Nodes(_Collection):
    @classmethod
    def load(cls):
        _behave()
        return cls({"node0": Node()} if _behaviour.read_text() == "suffix" else {})


class Jobs(_Collection):
    pass


class JobSubmitDescription:
    def __init__(self, **options: object) -> None:
        self.options = options

    def submit(self) -> int:
        _behave()
        assert Path(str(self.options["script"])).read_text().startswith("#!")
        return 7


class Job:
    def __init__(self, job_id: int) -> None:
        pass

    @staticmethod
    def load(job_id: int) -> None:
        _behave()

    def cancel(self) -> None:
        pass


def _behave() -> None:
    behaviour = _behaviour.read_text()
    once = behaviour.endswith(" once")
    if once:
        _behaviour.write_text("")
    match behaviour.removesuffix(" once"):
        case "die":
            os._exit(3)
        case "hang":
            while True:
                time.sleep(1)
        case "refuse":
            raise RPCError("Access/permission denied")
        case "chatter":
            print("the library says something on standard output", flush=True)
            os.write(1, b"and below Python too\n")
