"""Command 8: ranks are bound to cores of their nodes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.applications import COREFILES, PROGRAMS, Application, wait_until

TWO_NODES = f"--corefile={COREFILES / 'demo.core'}"
COUNTING = (PROGRAMS / "counting.py", "--pause=0.001")
QUICK = (TWO_NODES, "--interval=0.05s")
FREE_CORES = sorted(core for core in os.sched_getaffinity(0) if core < 4)
"""Those that a virtual node of four cores has on this machine."""


def pid_of(application: Application, *, pset: int, local_rank: int) -> int:
    """Return the process of a rank, by what its launcher and its mpiexec put into its environment."""
    wanted = {f"FLEXMPI_PSET={pset}".encode(), f"PMI_RANK={local_rank}".encode()}
    pids = application.rank_pids()
    found = [pid for pid in pids if wanted <= set(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))]
    assert len(found) == 1, (found, pids)
    return found[0]


def cores_of(pid: int) -> set[frozenset[int]]:
    """Return where the threads of a process may run."""
    return {frozenset(os.sched_getaffinity(int(thread))) for thread in os.listdir(f"/proc/{pid}/task")}


@pytest.mark.both_changes
def test_ranks_with_all_their_threads_are_bound_by_their_present_numbers(start, change):
    application = start(*QUICK, "-n2", *COUNTING)
    application.wait_for("loop")
    first, last = FREE_CORES[0], FREE_CORES[-1]
    founder = pid_of(application, pset=0, local_rank=0)
    assert application.send(f"8:0:{first}:1:{last}:") == f"ok: rank 0 on core {first}, rank 1 on core {last}"
    assert cores_of(founder) == {frozenset({first})}
    assert cores_of(pid_of(application, pset=0, local_rank=1)) == {frozenset({last})}
    application.change("6:lhost:-1:node2:1")
    if change == "join":
        newcomer = pid_of(application, pset=1, local_rank=0)
    else:
        founder, newcomer = (pid_of(application, pset=1, local_rank=number) for number in range(2))
        wait_until(lambda: cores_of(founder) == {frozenset({first})}, what="the first rank is bound as the first was")
    assert application.send(f"8:1:{last}") == f"ok: rank 1 on core {last}"
    assert cores_of(newcomer) == {frozenset({last})}
    assert cores_of(founder) == {frozenset({first})}
    assert application.send(f"8:2:{first}") == "error: there is no rank 2: the application has ranks 0 to 1"


def test_a_rank_named_twice_may_run_on_both_cores(start):
    application = start(*QUICK, "-n1", *COUNTING)
    application.wait_for("loop")
    pairs = "".join(f":0:{core}" for core in [*FREE_CORES, FREE_CORES[0]])
    assert application.send(f"8{pairs}").endswith(",".join(map(str, FREE_CORES)))
    assert cores_of(pid_of(application, pset=0, local_rank=0)) == {frozenset(FREE_CORES)}


def test_a_core_that_the_node_has_not_is_refused(start):
    application = start(*QUICK, "-n2", *COUNTING)
    refused = f"error: rank 0 is on demo-1, which has no core 64 (it has {FREE_CORES})"
    application.wait_for("loop")
    assert application.send("8:0:64") == refused
