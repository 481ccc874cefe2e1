"""Constant data moves while the application computes; whatever happens meanwhile, every row arrives and nobody hangs."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from tests.applications import PROGRAMS, Application, command_line, wait_until
from tests.runtime.joining.test_joining import Contract, Start, corefile, ended_well

__all__ = ["corefile"]


def linking(start: Start, corefile: Path, then: str, *options: str, ranks: int = 1) -> Application:
    """Start ``tests/programs/linking.py``."""
    program = (PROGRAMS / "linking.py", f"--folder={corefile.parent}", f"--then={then}", *options)
    application = start(f"--corefile={corefile}", "--interval=0.02s", "--quiet", f"-n{ranks}", *program)
    application.wait_for("loop", loop=0)
    return application


def number_of(reply: str) -> int:
    """Return the number of the reconfiguration that a reply names."""
    assert reply.startswith("ok: reconfiguration "), reply
    return int(reply.split()[2].rstrip(":"))


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


GROWTH, SHRINK = (1, "6:node2:2"), (3, "6:lhost:-1")


@pytest.mark.parametrize(("ranks", "command"), [GROWTH, SHRINK])
def test_an_application_that_ends_while_data_moves_goes_to_its_end_as_it_is(
    start: Start, corefile: Path, ranks: int, command: str
) -> None:
    application = linking(start, corefile, "end", ranks=ranks)
    dropped = application.change(command)
    assert (dropped["outcome"], dropped["why"]) == ("failed", "the application ended first")
    assert "all was right" in ended_well(application, errors="the application ended first")


@pytest.mark.parametrize(("ranks", "command"), [GROWTH, SHRINK])
def test_what_has_moved_by_the_end_of_a_loop_is_taken_in_the_next(
    start: Start, corefile: Path, ranks: int, command: str
) -> None:
    application = linking(start, corefile, "next", ranks=ranks)
    assert application.change(command)["outcome"] == "done"
    assert "changed in loop 1: True" in ended_well(application)


def test_data_goes_on_moving_in_a_program_whose_loops_end_in_their_first_iteration(
    start: Start, corefile: Path
) -> None:
    application = linking(start, corefile, "short", ranks=3)
    assert application.change("6:lhost:-1")["outcome"] == "done"
    assert "all was right" in ended_well(application)


@pytest.mark.parametrize(("ranks", "command"), [GROWTH, SHRINK])
def test_what_is_ordered_while_data_moves_is_done_after_that(
    start: Start, corefile: Path, ranks: int, command: str
) -> None:
    application = linking(start, corefile, "hold", "--until-go", ranks=ranks)
    first = number_of(application.send(command))
    wait_until((corefile.parent / "linked").exists, what="data moves")
    second = number_of(application.send("6:node3:1"))
    (corefile.parent / "go").touch()
    done = application.wait_for("reconfiguration", id=first), application.wait_for("reconfiguration", id=second)
    after = 3 if ranks == 1 else 2
    assert [(each["outcome"], each["ranks_after"]) for each in done] == [("done", after), ("done", after + 1)]
    application.send("5:")
    assert application.finish()[0] == 143


def test_a_node_that_goes_away_is_left_at_once_with_its_data(start: Start, corefile: Path) -> None:
    application = linking(start, corefile, "hold", "--until-go")
    go = corefile.parent / "go"
    go.touch()
    assert application.change("6:node2:1")["ranks_after"] == 2
    # Rows that moved ahead would never be taken now.
    go.unlink()
    (launcher,) = (pid for pid in application.processes() if b"runtime.launcher\0--node\0n1\0" in command_line(pid))
    os.kill(launcher, signal.SIGTERM)
    left = application.wait_for("reconfiguration")
    assert (left["cause"], left["outcome"], left["ranks_after"]) == ("n1 is taken back", "done", 1)
    application.send("5:")
    assert application.finish()[0] == 143


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
