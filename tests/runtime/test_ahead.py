"""Constant data moves while the application computes; whatever happens meanwhile, every row arrives and nobody hangs."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from tests.applications import PROGRAMS, Application, wait_until
from tests.runtime.test_joining import Contract, Start, corefile, ended_well

__all__ = ["corefile"]


def linking(start: Start, corefile: Path, then: str) -> Application:
    """Start one rank of ``tests/programs/linking.py``."""
    program = (PROGRAMS / "linking.py", f"--folder={corefile.parent}", f"--then={then}")
    application = start(f"--corefile={corefile}", "--interval=0.02s", "--quiet", "-n1", *program)
    application.wait_for("loop", loop=0)
    return application


def test_rows_that_moved_ahead_are_where_they_belong(start: Start, corefile: Path) -> None:
    contract = Contract(start, corefile, "-n1", program_options=("--ahead",))
    assert contract.change("6:lhost:1") == (2, 1)
    assert contract.change("6:node2:1:node3:2") == (5, 3)
    assert contract.change("6:node2:-1:lhost:1") == (5, 2), "some leave while others join"
    assert contract.change("6:lhost:-2") == (3, 2)
    assert contract.change("6:lhost:1") == (4, 2), "a parked rank joins"
    assert contract.end()[0] == 5


@pytest.mark.parametrize("seed", [3, 4])
def test_random_changes_with_data_that_moves_ahead(start: Start, corefile: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    contract = Contract(start, corefile, "-n2", program_options=("--ahead",))
    ranks = {"lhost": 2, "node2": 0, "node3": 0}
    for _ in range(8):
        joining, leaving = rng.permutation(list(ranks))[:2]
        changes = {joining: 1} if ranks[joining] < 3 else {}
        if ranks[leaving] and sum(ranks.values()) > 1:
            changes[leaving] = -1
        if not changes:
            continue
        for node, change in changes.items():
            ranks[node] += change
        after = contract.change("6:" + ":".join(f"{node}:{change}" for node, change in changes.items()))
        assert after[0] == sum(ranks.values())
    contract.end()


def test_an_application_that_ends_while_data_moves_lets_newcomers_go(start: Start, corefile: Path) -> None:
    application = linking(start, corefile, "end")
    dropped = application.change("6:node2:2")
    assert (dropped["outcome"], dropped["why"]) == ("failed", "the application ended first")
    assert "all was right" in ended_well(application, errors="the application ended first")


def test_newcomers_that_are_connected_join_in_the_next_loop(start: Start, corefile: Path) -> None:
    application = linking(start, corefile, "next")
    assert application.change("6:node2:2")["outcome"] == "done"
    assert "joined in loop 1: True" in ended_well(application)


def test_a_job_can_be_ended_while_data_moves(start: Start, corefile: Path) -> None:
    application = linking(start, corefile, "hold")
    assert application.send("6:node2:1").startswith("ok")
    wait_until((corefile.parent / "linked").exists, what="the newcomer is connected")
    application.send("5:")
    assert application.finish()[0] == 143


def test_a_newcomer_that_is_lost_while_data_moves_ends_the_job_and_leaves_nothing(start: Start, corefile: Path) -> None:
    application = linking(start, corefile, "hold")
    founders = set(application.rank_pids())
    assert application.send("6:node2:1").startswith("ok")
    wait_until((corefile.parent / "linked").exists, what="the newcomer is connected")
    (newcomer,) = set(application.rank_pids()) - founders
    os.kill(newcomer, signal.SIGKILL)
    status, _, errors = application.finish()
    assert status == 128 + signal.SIGKILL and "was killed by signal 9" in errors, errors
