"""Policies that predict, in real jobs: they grow and shrink by themselves, or say what they would do.

The program sleeps a fixed time for each row, so that a loaded machine changes little of what is predicted.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.applications import PROGRAMS, REPOSITORY, Application

Start = Callable[..., Application]

TIMED = REPOSITORY / "benchmarks" / "programs" / "timed.py"


@pytest.fixture
def corefile(tmp_path: Path) -> Path:
    file = tmp_path / "nodes.core"
    file.write_text("hot1:2:hot:10:1\nhot2:2:hot:10:1\ncool1:2:cool:1:1\n")
    return file


def test_performance_adds_ranks_so_that_the_job_ends_in_time(start: Start, corefile: Path) -> None:
    options = [f"--corefile={corefile}", "--interval=0.1s", "--policy=performance:8", "-n1"]
    # 14 s on one rank.
    application = start(*options, TIMED, "--iterations=300")
    decision = application.wait_for("decision", worth_it=True)
    assert (decision["policy"], decision["dry_run"], decision["now"]["ranks"]) == ("performance", False, 1)
    assert decision["chosen"]["to_go_s"] < decision["now"]["to_go_s"]
    done = application.wait_for("reconfiguration", cause="policy performance")
    assert done["outcome"] == "done"
    assert done["ranks_after"] > 1
    status, output, errors = application.finish()
    assert status == 0, errors
    assert "all rows counted: True" in output
    (line,) = [line for line in output.splitlines() if line.startswith("Policy performance: now 1 rank,")][:1]
    assert "; wanted to finish within " in line and "; chosen " in line and ": gain " in line and ", cost " in line


@pytest.mark.both_changes
def test_a_policy_of_the_original_gives_back_what_is_not_needed(start: Start, corefile: Path) -> None:
    application = start(f"--corefile={corefile}", "--interval=0.1s", "--nodes=2-3", "-n4", TIMED, "--iterations=100000")
    application.wait_for("loop")
    reply = application.send("1:EFFICIENCY:1000000:0.1")
    assert reply == (
        "ok: policy is performance: has as few ranks, or as cheap ones, as finish in time (objective 1e+06, threshold 0.1)"
    )
    done = application.wait_for("reconfiguration", outcome="done", cause="policy performance")
    # The cheapest on the two nodes at least that the job must have.
    assert done["nodes_after"] == 2
    assert done["ranks_after"] == 2
    assert done["changes"] == {"hot1": -1, "hot2": -2, "cool1": 1}
    application.send("5:")
    application.finish()


@pytest.mark.both_changes
def test_energy_moves_the_job_to_the_nodes_that_need_less(start: Start, corefile: Path) -> None:
    watts = ["--node-watts=200:50", "--node-watts=cool:50:5"]
    application = start(
        f"--corefile={corefile}", "--interval=0.1s", "--policy=energy:0.5", *watts, "-n2", TIMED, "--iterations=100000"
    )
    done = application.wait_for("reconfiguration", outcome="done", cause="policy energy")
    assert done["changes"].get("cool1", 0) > 0
    assert application.send("1:triggered").startswith("ok: ")
    application.send("5:")
    output = application.finish()[1]
    assert "the least energy at most 50 % slower than the fastest" in output
    assert " W (declared)" in output


def test_a_dry_run_changes_nothing(start: Start, corefile: Path) -> None:
    options = [f"--corefile={corefile}", "--interval=0.1s", "--policy=speedup:0.5", "--dry-run", "-n1"]
    application = start(*options, TIMED, "--iterations=60")
    decision = application.wait_for("decision", worth_it=True)
    assert decision["dry_run"]
    status, output, errors = application.finish()
    assert status == 0, errors
    assert "60 iterations on 1 ranks" in output
    assert any(line.endswith("(dry run)") for line in output.splitlines())
    assert "Spawn" not in output.replace("Process spawned", "")


def test_a_policy_that_lacks_a_figure_says_which(start: Start, tmp_path: Path) -> None:
    corefile = tmp_path / "nodes.core"
    corefile.write_text("node1:2\n")
    application = start(
        f"--corefile={corefile}", "--interval=0.1s", "--policy=cost:100", "-n1", TIMED, "--iterations=60"
    )
    status, output, errors = application.finish()
    assert status == 0, errors
    assert "Policy cost: waits: the corefile has no cost for node1\n" in output


def test_the_bytes_that_a_change_moves_are_predicted_exactly_whatever_the_program_holds(
    start: Start, corefile: Path
) -> None:
    options = [f"--corefile={corefile}", "--interval=0.1s", "--policy=speedup:0.5", "-n2"]
    # Sparse rows of unlike lengths, which the program assigns anew meanwhile, dense rows, and copies.
    application = start(*options, PROGRAMS / "mixed.py", "--refill=4")
    done = application.wait_for("reconfiguration", outcome="done", cause="policy speedup")
    # What was decided last is what was carried out; said once, though it was decided in two intervals.
    decision = [each for each in application.seen if each["event"] == "decision" and each["worth_it"]][-1]
    assert decision["chosen"]["changes"] == done["changes"]
    assert decision["chosen"]["bytes"] == done["bytes"] > 0
    application.send("5:")
    application.finish()


@pytest.mark.parametrize(
    ("option", "error"),
    [
        ("--policy=fastest", "--policy: unknown policy 'fastest'"),
        ("--policy=performance", "--policy: policy performance needs an objective: the seconds from its start"),
        ("--policy=schedule", "--policy schedule needs --schedule FILE"),
        ("--node-watts=100", "--node-watts must be [ALIAS:]IDLE:CORE with watts from 0 on, got '100'"),
        ("--node-watts=warm:100:10", "--node-watts: no node has the alias 'warm', expected one of "),
        ("--node-watts=hot:-1:10", "--node-watts must be [ALIAS:]IDLE:CORE with watts from 0 on, got 'hot:-1:10'"),
    ],
)
def test_a_wrong_policy_starts_nothing(start: Start, corefile: Path, option: str, error: str) -> None:
    status, output, errors = start(f"--corefile={corefile}", option, TIMED).finish()
    assert (status, output) == (2, "")
    assert errors.startswith(f"flexmpi: error: {error}"), errors
    assert errors.count("\n") == 1
