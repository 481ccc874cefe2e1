"""The schedule file and the policies that act by themselves, with real applications."""

from __future__ import annotations

import subprocess
import sys

import pytest

from flexmpi.runtime.job.balance import Hysteresis
from tests.applications import COREFILES, PROGRAMS, REPOSITORY, Application, Event

TWO_NODES = f"--corefile={COREFILES / 'demo.core'}"
COUNTING = (PROGRAMS / "counting.py", "--pause=0.01")
UNEVEN = (PROGRAMS / "uneven.py", "--row-seconds=0.0002")
FAIR_SHARE = range(30, 38)
"""Rows of 100 for a rank that is half as fast as the other, with what a busy machine does to it."""
SMALL_IMBALANCE = 0.07
"""Outside of the fair share it is larger."""


# The schedule file


@pytest.fixture
def four_cores(tmp_path):
    file = tmp_path / "nodes.core"
    file.write_text("node1:4:lhost\n")
    return f"--corefile={file}"


def schedule(application_folder, text: str) -> str:
    path = application_folder / "malleability"
    path.write_text(text)
    return f"--schedule={path}"


def is_on_time(done, iteration: int, change: str) -> bool:
    """Whether a shrink was carried out when it was planned for; by handover a new world has to start before."""
    return done["iteration"] == iteration if change == "join" else done["iteration"] >= iteration


@pytest.mark.both_changes
def test_a_schedule_is_carried_out_in_its_order_at_or_after_its_iterations(start, tmp_path, change):
    lines = "250:+1:node2:-1:lhost\n110:-1:lhost\n111:1:demo-2\n"
    application = start(TWO_NODES, "--interval=20", "-n3", schedule(tmp_path, lines), *COUNTING)
    done = [application.wait_for("reconfiguration") for _ in range(3)]
    assert [(record["cause"], record["outcome"]) for record in done] == [("schedule", "done")] * 3
    assert [record["changes"] for record in done] == [{"demo-1": -1}, {"demo-2": 1}, {"demo-1": -1, "demo-2": 1}]
    assert is_on_time(done[0], 110, change)
    assert done[1]["iteration"] >= 111
    assert done[2]["iteration"] >= 250
    assert [record["ranks_after"] for record in done] == [2, 3, 3]


@pytest.mark.both_changes
def test_new_ranks_are_ready_by_the_iteration_they_are_planned_for(start, tmp_path):
    application = start(TWO_NODES, "--interval=20", "-n1", schedule(tmp_path, "350:+1:lhost\n"), *COUNTING)
    assert application.wait_for("reconfiguration")["iteration"] == 350


@pytest.mark.both_changes
def test_another_policy_suspends_the_schedule_and_the_schedule_takes_up_what_was_missed(start, tmp_path):
    application = start(TWO_NODES, "--interval=20", "-n2", schedule(tmp_path, "50:-1:lhost\n"), *COUNTING)
    application.wait_for("listening")
    assert application.send("1:triggered") == "ok: policy is triggered: changes only by commands"
    application.wait_for("sample", iteration=100)
    assert not [event for event in application.seen if event["event"] == "reconfiguration"]
    assert application.send("1:MALLEABILITY").startswith("ok: policy is schedule: ")
    done = application.wait_for("reconfiguration")
    assert (done["cause"], done["outcome"]) == ("schedule", "done")
    assert done["iteration"] >= 100


@pytest.mark.both_changes
def test_a_line_that_turns_out_impossible_is_dropped_and_the_next_is_carried_out(start, tmp_path, change):
    option = schedule(tmp_path, "40:+9:lhost\n110:-1:lhost\n")
    application = start(TWO_NODES, "--interval=20", "-n2", option, *COUNTING, "--iterations=200")
    dropped, done = (application.wait_for("reconfiguration") for _ in range(2))
    assert dropped["why"] == "planned for iteration 40: cannot add 9 ranks to lhost, free cores there: 2 (2 on demo-1)"
    assert done["outcome"] == "done" and is_on_time(done, 110, change)
    status, _, errors = application.finish()
    assert (status, errors) == (0, f"flexmpi: reconfiguration 1 was dropped: {dropped['why']}\n")


def test_under_the_originals_condition_a_growth_happens_as_far_as_it_gains_and_a_shrink_in_any_case(
    start, tmp_path, four_cores
):
    # Two rows: a second rank takes one of them, and a third one would have none.
    program = (REPOSITORY / "benchmarks" / "programs" / "timed.py", "--rows=2", "--row-s=0.02", "--iterations=100000")
    option = schedule(tmp_path, "10:+3:lhost\n20:+1:lhost\n30:-1:lhost\n")
    application = start(four_cores, "--interval=0.1s", "-n1", option, "--policy=MALLEABILITY_COND", *program)
    grown, dropped, shrunk = (application.wait_for("reconfiguration") for _ in range(3))
    assert (grown["outcome"], grown["changes"], grown["cause"]) == ("done", {"node1": 1}, "schedule")
    assert dropped["why"] == "planned for iteration 20: no part of it is predicted to gain"
    assert (shrunk["outcome"], shrunk["changes"]) == ("done", {"node1": -1})
    decision = next(event for event in application.seen if event["event"] == "decision")
    assert (decision["policy"], decision["chosen"]["bytes"]) == ("schedule", grown["bytes"])
    application.send("5:")
    output = application.finish()[1]
    assert "; wanted +3 on lhost at iteration 10, as far as that gains; chosen 2 ranks, " in output


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("soon:1:lhost", "iteration must be an integer"),
        ("10:1:gpu", "no node or alias 'gpu', expected one of lhost, node2"),
    ],
)
def test_a_wrong_schedule_starts_nothing(tmp_path, line, what):
    option = schedule(tmp_path, f"5:1:lhost\n{line}\n")
    command = [sys.executable, "-m", "flexmpi.cli", "run", TWO_NODES, option, str(PROGRAMS / "counting.py")]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode != 0
    assert refused.stdout == ""
    assert refused.stderr.startswith(f"flexmpi: error: schedule {tmp_path / 'malleability'}, line 2: {what}")


# Load balancing


def samples(application: Application) -> list[Event]:
    return [event for event in application.seen if event["event"] == "sample"]


@pytest.mark.both_changes
def test_command_2_gives_the_rank_at_half_speed_a_third_of_the_rows_and_newcomers_their_corefile_speed(start, change):
    application = start(TWO_NODES, "--interval=0.5s", "-n2", *UNEVEN, "--iterations=100000")
    application.wait_for("sample")
    assert application.wait_for("sample")["load"] == [50, 50]
    for _ in range(8):  # a machine with other work to do may disturb one measurement
        balanced = application.change("2:")
        assert (balanced["outcome"], balanced["ranks_after"]) == ("done", 2)
        shares = application.wait_for("sample")
        if shares["load"][0] in FAIR_SHARE:
            break
    assert shares["load"][0] in FAIR_SHARE
    assert sum(shares["load"]) == 100
    assert sum(shares["weights"]) == pytest.approx(2 * 5170)
    application.change("6:node2:1")
    grown = application.wait_for("sample")
    # A newcomer takes its place between the two others; in a successor the ranks of a node follow each other.
    newcomer, fast = (1, 2) if change == "join" else (2, 1)
    assert grown["weights"][newcomer] == 5170
    assert grown["load"][newcomer] in (33, 34)
    assert grown["load"][0] < grown["load"][fast]


@pytest.mark.both_changes
def test_a_balance_after_a_change_waits_for_an_interval_of_the_ranks_and_rows_that_there_are_then(start):
    application = start(TWO_NODES, "--interval=20", "-n2", *COUNTING)
    application.wait_for("sample", iteration=40)
    assert application.send("6:lhost:-1:node2:1").startswith("ok: ")
    assert application.send("2:").startswith("ok: ")
    moved = application.wait_for("reconfiguration", id=1)
    balanced = application.wait_for("reconfiguration", id=2)
    assert (moved["ranks_after"], balanced["outcome"]) == (2, "done")
    # One interval is measured, the balance is offered during the next.
    assert balanced["iteration"] >= moved["iteration"] + 40


@pytest.mark.both_changes
def test_a_newcomer_on_a_node_twice_as_fast_gets_twice_the_rows(start, tmp_path):
    (tmp_path / "two.core").write_text("slow:2:slow:100:1000\nfast:2:fast:100:2000\n")
    application = start(f"--corefile={tmp_path / 'two.core'}", "--interval=0.1s", "-n1", *COUNTING)
    application.wait_for("loop")
    application.change("6:fast:1")
    grown = application.wait_for("sample")
    assert grown["weights"] == [1000, 2000]
    assert grown["load"] == [333, 667]


@pytest.mark.both_changes
def test_the_policy_balance_acts_by_itself_exactly_when_several_intervals_were_out_of_balance(start):
    application = start(TWO_NODES, "--interval=0.3s", "-n2", *UNEVEN, "--iterations=100000")
    application.wait_for("loop")
    assert application.send(f"1:LBALANCE:0:{SMALL_IMBALANCE}").startswith("ok: policy is balance: ")
    first = application.wait_for("reconfiguration")
    assert (first["cause"], first["outcome"]) == ("policy balance", "done")
    while application.wait_for("sample")["load"][0] not in FAIR_SHARE:
        assert len(samples(application)) < 100
    for _ in range(6):
        application.wait_for("sample")
    # Whatever the machine did meanwhile, each balancing must have been due, and what was due must have happened.
    state, due, happened = Hysteresis(threshold=SMALL_IMBALANCE), 0, 0
    for event in application.seen:
        if event["event"] == "reconfiguration":
            happened += 1
            assert happened <= due
        elif event["event"] == "sample":
            busy_s = [
                max(0.0, real - communication - io)
                for real, communication, io in zip(
                    event["real_s"], event["communication_s"], event["io_s"], strict=True
                )
            ]
            state = state.after(busy_s)
            if state.acts and happened == due:
                due += 1
                state = Hysteresis(threshold=SMALL_IMBALANCE)
    assert due - happened <= 1


def test_the_policy_balance_leaves_a_balanced_application_alone(start):
    application = start(TWO_NODES, "--interval=0.2s", "-n2", *COUNTING)
    application.wait_for("loop")
    # Ranks that mostly sleep: a threshold of half the mean is far beyond what the machine does to them.
    assert application.send("1:balance:0:0.5").startswith("ok: ")
    for _ in range(10):
        application.wait_for("sample")
    assert not [event for event in application.seen if event["event"] == "reconfiguration"]
