"""Ranks that are started for a growth that is likely: they wait, join at once, and go when they are not wanted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.applications import PROGRAMS, Application, wait_until

Start = Callable[..., Application]


@pytest.fixture
def application(start: Start, tmp_path: Path) -> Application:
    """Compute on one of two virtual nodes of four cores, checking all data in every iteration."""
    corefile = tmp_path / "two.core"
    corefile.write_text("n0:4:lhost:100:1000\nn1:4:node2:100:1000\n")
    options = (f"--corefile={corefile}", "--interval=0.02s", "--quiet", "-n1")
    application = start(*options, PROGRAMS / "contract.py", f"--until={tmp_path / 'stop'}")
    application.wait_for("loop")
    return application


def end(application: Application, tmp_path: Path) -> None:
    (tmp_path / "stop").touch()
    status, output, _ = application.finish()
    assert status == 0 and "all was right" in output, output


def test_prepared_ranks_join_and_no_process_is_started_for_them(application: Application, tmp_path: Path) -> None:
    assert application.send("13:node2:2") == "ok: reconfiguration 1: have 2 ranks ready on n1"
    ready = application.wait_for("reconfiguration", id=1)
    assert (ready["outcome"], ready["ready"], ready["ranks_after"]) == ("done", {"n1": 2}, 1)
    pids = application.rank_pids()
    assert len(pids) == 3
    grown = application.change("6:node2:1")
    assert (grown["outcome"], grown["ranks_after"], grown["nodes_after"]) == ("done", 2, 2)
    assert application.change("6:lhost:1:node2:1")["ranks_after"] == 4
    assert len(application.rank_pids()) == 4, "one was started, on lhost"
    assert set(pids) <= set(application.rank_pids())
    end(application, tmp_path)


def test_as_many_are_ready_as_were_asked_for_last_and_parked_ranks_count(
    application: Application, tmp_path: Path
) -> None:
    assert application.change("13:node2:1")["outcome"] == "done"
    first = application.rank_pids()
    assert application.change("13:node2:3")["outcome"] == "done"
    assert len(application.rank_pids()) == 4 and set(first) <= set(application.rank_pids())
    assert application.change("6:node2:3")["ranks_after"] == 4
    assert application.change("6:lhost:2")["ranks_after"] == 6
    assert application.change("6:lhost:-1")["ranks_after"] == 5
    before = application.rank_pids()
    assert application.change("13:lhost:1")["outcome"] == "done"
    assert application.rank_pids() == before, "one is parked there"
    end(application, tmp_path)


def test_prepared_ranks_are_let_go_and_others_end_with_the_application(
    application: Application, tmp_path: Path
) -> None:
    founders = application.rank_pids()
    assert application.change("13:node2:2")["outcome"] == "done"
    assert application.change("6:lhost:1")["outcome"] == "done"
    assert len(application.rank_pids()) == 4, "a change elsewhere leaves them where they are"
    assert application.change("13:node2:0")["outcome"] == "done"
    wait_until(lambda: len(application.rank_pids()) == 2, what="the end of the prepared ranks")
    assert set(founders) <= set(application.rank_pids())
    assert application.change("13:n1:1")["outcome"] == "done"
    end(application, tmp_path)


def test_nobody_waits_on_a_node_that_all_have_left(application: Application, tmp_path: Path) -> None:
    assert application.change("6:node2:1")["outcome"] == "done"
    assert application.change("13:node2:2")["outcome"] == "done"
    assert application.change("6:node2:-1")["nodes_after"] == 1
    wait_until(lambda: len(application.rank_pids()) == 1, what="the end of all ranks on node2")
    end(application, tmp_path)


def test_what_cannot_be_prepared_is_refused(application: Application, tmp_path: Path) -> None:
    assert application.send("13:gpu:1") == "error: no node or alias 'gpu', expected one of lhost, node2"
    assert application.send("13:gpu:0") == "error: no node or alias 'gpu', expected one of lhost, node2"
    assert application.send("13:lhost:4") == "error: cannot add 4 ranks to lhost, free cores there: 3 (3 on n0)"
    assert application.send("13:lhost:-1").startswith("error: command 13: '-1' is not between 0 and ")
    assert application.send("13:lhost") == "error: command 13: fields are missing (expected 13:NODE:N)"
    end(application, tmp_path)
