"""Ranks change by handover: a new world takes over from the one that computes, and all is where and what it should be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.applications import PROGRAMS, Application, soak_seed, wait_until

Start = Callable[..., Application]


@pytest.fixture(params=["node", "private"])
def blocks(request: pytest.FixtureRequest) -> str:
    """Where rows lie."""
    return f"--blocks={request.param}"


@pytest.fixture
def application(start: Start, tmp_path: Path, blocks: str, request: pytest.FixtureRequest) -> Iterator[Application]:
    """Compute on one of three virtual nodes of four cores, checking all data in every iteration and world."""
    corefile = tmp_path / "three.core"
    corefile.write_text("".join(f"n{number}:4:a{number}:100:1000\n" for number in range(3)))
    options = ("--change=handover", blocks, f"--corefile={corefile}", "--interval=0.02s", "--quiet", "-n2")
    more = getattr(request, "param", ())
    application = start(*options, PROGRAMS / "succession.py", f"--until={tmp_path / 'stop'}", *more)
    application.wait_for("loop")
    yield application
    (tmp_path / "stop").touch()
    status, output, errors = application.finish()
    assert (status, errors) == (0, ""), errors
    assert "all was right" in output


def done(application: Application, command: str, *, ranks: int, nodes: int) -> dict[str, object]:
    event = application.change(command)
    assert (event["outcome"], event["ranks_after"], event["nodes_after"]) == ("done", ranks, nodes), event
    return event


@pytest.mark.every_library
def test_ranks_are_added_on_a_node_and_on_others_and_leave_again_founders_too(application: Application) -> None:
    done(application, "6:a0:1", ranks=3, nodes=1)
    done(application, "6:a1:3", ranks=6, nodes=2)
    done(application, "6:a2:2", ranks=8, nodes=3)
    done(application, "6:a0:-3", ranks=5, nodes=2)
    done(application, "6:a1:-2:a0:1", ranks=4, nodes=3)
    done(application, "6:a1:-1:a2:-2", ranks=1, nodes=1)


@pytest.mark.every_library
def test_rows_travel_between_nodes_only(application: Application) -> None:
    inside = done(application, "6:a0:2", ranks=4, nodes=1)
    assert inside["bytes_network"] == 0 < inside["bytes_node"]
    outside = done(application, "6:a1:4", ranks=8, nodes=2)
    assert outside["bytes_network"] > 0
    assert outside["bytes"] == outside["bytes_network"]


@pytest.mark.every_library
def test_a_change_that_shares_no_node_with_the_present_ranks_is_made_in_two_steps(application: Application) -> None:
    moved = done(application, "6:a0:-2:a1:3", ranks=3, nodes=1)
    assert moved["bytes_network"] > 0
    done(application, "6:a1:-3:a0:1", ranks=1, nodes=1)


@pytest.mark.parametrize(("application", "blocks"), [(("--unread",), "private")], indirect=True)
def test_rows_that_the_kernel_does_not_let_a_successor_read_come_through_the_nodes_files(
    application: Application,
) -> None:
    grown = done(application, "6:a0:2", ranks=4, nodes=1)
    assert grown["bytes_network"] == 0 < grown["bytes_node"]
    done(application, "6:a1:2", ranks=6, nodes=2)
    done(application, "6:a0:-3", ranks=3, nodes=2)
    done(application, "6:a0:-1:a1:-1", ranks=1, nodes=1)


@pytest.mark.parametrize("application", [("--any-shares",)], indirect=True)
def test_the_load_is_balanced_without_a_row_that_changes_nodes(application: Application) -> None:
    application.wait_for("sample")
    balanced = done(application, "2:", ranks=2, nodes=1)
    assert balanced["bytes_network"] == 0


@pytest.mark.every_library
def test_a_successor_that_was_made_ready_takes_over_at_once_and_another_change_lets_it_go(
    application: Application,
) -> None:
    ready = application.change("13:a1:2")
    assert (ready["outcome"], ready["ready"], ready["ranks_after"]) == ("done", {"n1": 2}, 2)
    successor = set(application.rank_pids())
    assert len(successor) == 6
    grown = done(application, "6:a1:2", ranks=4, nodes=2)
    assert grown["start_s"] == 0.0 and set(application.rank_pids()) <= successor
    assert application.change("13:a0:1")["outcome"] == "done"
    done(application, "6:a2:1", ranks=5, nodes=3)
    wait_until(lambda: len(application.rank_pids()) == 5, what="the one that was ready has gone")
    assert application.change("13:a0:1")["outcome"] == "done"
    assert application.change("13:a0:0")["outcome"] == "done"
    wait_until(lambda: len(application.rank_pids()) == 5, what="it is let go")
    assert application.change("13:a0:1")["outcome"] == "done", "it ends with the application"


@pytest.mark.every_library
def test_an_application_that_starts_on_several_nodes_is_one_world(start: Start, tmp_path: Path, blocks: str) -> None:
    corefile, rankfile = tmp_path / "three.core", tmp_path / "ranks"
    corefile.write_text("".join(f"n{number}:4:a{number}:100:1000\n" for number in range(3)))
    rankfile.write_text("n0:1\nn1:2\nn2:1\n")
    on_nodes = (f"--corefile={corefile}", f"--rankfile={rankfile}")
    options = ("--change=handover", blocks, *on_nodes, "--interval=0.02s", "--quiet")
    application = start(*options, PROGRAMS / "succession.py", f"--until={tmp_path / 'stop'}")
    application.wait_for("loop")
    done(application, "6:a0:-1", ranks=3, nodes=2)
    done(application, "6:a1:-1:a0:2", ranks=4, nodes=3)
    (tmp_path / "stop").touch()
    status, output, errors = application.finish()
    assert (status, errors) == (0, "") and "all was right" in output


@pytest.mark.every_library
@pytest.mark.soak
def test_five_hundred_random_changes_lose_nothing(application: Application) -> None:
    rng, present = np.random.default_rng(soak_seed()), np.array([2, 0, 0])
    for number in range(500):
        wanted = rng.integers(0, 5, 3)
        while not 1 <= wanted.sum() <= 8 or (wanted == present).all():
            wanted = rng.integers(0, 5, 3)
        moves = ":".join(f"a{node}:{change}" for node, change in enumerate(wanted - present) if change)
        done(application, f"6:{moves}", ranks=int(wanted.sum()), nodes=int((wanted > 0).sum()))
        present = wanted
        print(f"{number}: 6:{moves}", flush=True)
