"""Whole sessions with a real controller and real applications."""

from __future__ import annotations

import re
import signal
import subprocess

import pytest

# The manual's session, without blank lines and without those about its threads, of which there are none here.
MANUAL = """\
*****
FlexMPI program controller 1.05
*****
--- Initializing
### Application maleability enabled
Reading the workload ...
@@@ App [0], root node: localhost
Creating the rankfile 1 ...
Creating the execution script 1 ...
Executing the application 1 ...
@@@ App [1], root node: localhost
Creating the rankfile 2 ...
Creating the execution script 2 ...
Executing the application 2 ...
--- Displaying the application workload
Application 0, Port1 (listener): 6666 Port2 (Sender): 6667
localhost 4
Application 1, Port1 (listener): 6668 Port2 (Sender): 6669
localhost 2
Please type a command [appId command]:
--- Waiting for new input commands
Message: 4:on. Size: 500 bytes sent to app1.
0 data from 127.0.0.1:33418 -> [compute-1] rtime 0 ptime 0 ctime 0.000000 Mflops 1 PAPI_SP_OPS 0 PAPI_TOT_CYC 0 \
Ratio=-nan iotime 0.000000 size 4
Message: 4:on. Size: 500 bytes sent to app2.
1 data from 127.0.0.1:33233 -> [compute-1] rtime 0 ptime 0 ctime 0.000000 Mflops 1 PAPI_SP_OPS 0 PAPI_TOT_CYC 0 \
Ratio=-nan iotime 0.000000 size 2
Message: 6:lhost:2. Size: 500 bytes sent to app1.
0 data from 127.0.0.1:33418 -> [compute-1] rtime 2399344 ptime 2463459 ctime 0.064228 Mflops 30845 PAPI_SP_OPS 0 \
PAPI_TOT_CYC 24975784510 Ratio=inf iotime 0.000000 size 6
"""
TWO = "count:compute-1:2\ncount:compute-1:1\n"
# What ours says beyond the manual: replies, refusals and ends.
OURS = re.compile(r"\d+ reply from |error: |Application \d+ ended|$")


def shape(line: str) -> str:
    """Return a line with placeholders for all that differs between two runs, or between two spellings of a word."""
    line = line.replace("maleability", "malleability").replace("localhost", "compute-1")
    line = re.sub(r"controller [\w.]+$", "controller VERSION", line)
    line = re.sub(r"(Mflops |PAPI_SP_OPS |PAPI_TOT_CYC |Ratio=)\S+", r"\1COUNT", line)
    line = re.sub(r"(Size:|size) \d+", r"\1 N", line)
    line = re.sub(r"\d+\.\d{6}\b", "SECONDS", line)
    line = re.sub(r"((?:r|p)time) \d+\b", r"\1 MICROSECONDS", line)
    line = re.sub(r"^compute-1 \d+$", "compute-1 RANKS", line)
    return re.sub(r"(127\.0\.0\.1:|\(listener\): |\(Sender\): )\d+", r"\1PORT", line)


def test_the_manuals_session_with_two_applications(converse, files) -> None:
    session = converse(f"--workload={files('two.workload', TWO)}")
    session.wait_for("--- Waiting for new input commands")

    session.say("0 4:on")
    session.wait_for("0 data from .* size 2$")
    session.say("1 4: on")
    session.wait_for("1 data from .* size 1$")
    session.say("0 6:lhost:2")
    session.wait_for("0 data from .* size 4$")

    said = len(session.lines)
    for wrong in ("7 4:on", "0 14:", "0 6:nowhere:1", "hello"):
        session.say(wrong)
    session.wait_for("error: 'hello'")
    answers = [line for line in session.lines[said:] if " data from " not in line]
    session.say("quit")
    assert session.finish() == 0

    assert answers == [
        "error: no application 7, those that run are: 0, 1",
        "error: unknown command number 14 (commands are 1 to 13)",
        "Message: 6:nowhere:1. Size: 11 bytes sent to app1.",
        answers[3],
        "error: 'hello' is not an application's number (expected APPID COMMAND, quit or help)",
    ]
    assert re.fullmatch(
        r"0 reply from 127.0.0.1:\d+ -> error: no node or alias 'nowhere', expected one of lhost", answers[3]
    )
    assert session.lines[-2:] == ["Application 0 ended with status 143", "Application 1 ended with status 143"]
    replies = [line.partition(" -> ")[2] for line in session.lines if " reply from " in line]
    assert replies[:3] == [
        replies[0],
        replies[1],
        "ok: reconfiguration 1: start 2 ranks on compute-1",
    ]
    assert all(reply.startswith("ok: monitoring is on, reports go to UDP 127.0.0.1:") for reply in replies[:2])
    assert session.output(0).count("Received packet") == 3
    assert session.output(1).count("Received packet") == 1

    ours = [shape(line) for line in session.lines[:said] if not OURS.match(line)]
    assert without_repeats(ours) == without_repeats([shape(line) for line in MANUAL.splitlines()])


def without_repeats(shapes: list[str]) -> list[str]:
    """Return the shapes in the order of their first appearance: reports come as often as the intervals end."""
    return list(dict.fromkeys(shapes))


def test_a_batch_runs_in_its_order_and_its_scripts_run_again(converse, files) -> None:
    batch = files(
        "four.batch",
        """
        T 0 count:0:0:0:0:0:300:1
        M 0 +1
        B 0 count:0:0:0:0:0:5:1
        I 1 count:0:0:0:0:0:5:1
        I 2 phases:0:0:0:1:0:2:1
        """,
    )
    session = converse(f"--batch={batch}")
    session.say("1 4:on")
    session.hang_up()
    assert session.finish() == 0
    happened = [line for line in session.lines if re.match("Executing|Application . ended|Message", line)]
    assert "error: application 1 has not started yet" in session.lines
    assert happened[:4] == [
        "Executing the application 1 ...",
        "Message: 6:compute-1:1. Size: 13 bytes sent to app1.",
        "Application 0 ended with status 0",
        "Executing the application 2 ...",
    ]
    assert sorted(happened[4:]) == [
        "Application 1 ended with status 0",
        "Application 2 ended with status 0",
        "Application 3 ended with status 0",
        "Executing the application 3 ...",
        "Executing the application 4 ...",
    ]
    (reply,) = (line for line in session.lines if line.startswith("0 reply from"))
    assert reply.endswith("-> ok: reconfiguration 1: start 1 rank on compute-1")
    assert "counted 300 iterations" in session.output(0)
    script = session.folder / "execscripts" / "exec2"
    again = subprocess.run([script], check=False, capture_output=True, text=True, timeout=60)
    assert (again.returncode, again.stderr) == (0, "")
    assert "counted 5 iterations on 1 ranks" in again.stdout


def test_io_phases_of_two_applications_take_turns(converse, files, tmp_path) -> None:
    workload = files("io.workload", "phases:compute-1:1\nphases:compute-1:2\n")
    session = converse(f"--workload={workload}", "--scheduling-io")
    session.hang_up()
    assert session.finish() == 0
    one, two = ([line.split() for line in (tmp_path / "stamps" / name).read_text().splitlines()] for name in "12")
    # Ranks of one application do their I/O together.
    assert (len(one), len(two)) == (4, 2 * 4)
    for began, ended in one:
        assert not [line for line in two if float(line[0]) < float(ended) and float(began) < float(line[1])]
    assert not [line for line in session.lines if line.startswith("Warning")]


def test_quitting_at_once_ends_applications_that_have_hardly_begun(converse, files) -> None:
    session = converse(f"--workload={files('two.workload', TWO)}")
    session.say("quit")
    assert session.finish() == 0
    assert session.lines[-2:] == ["Application 0 ended with status 143", "Application 1 ended with status 143"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_controller_that_is_ended_takes_its_applications_along(converse, files, number) -> None:
    session = converse(f"--workload={files('one.workload', 'count:compute-1:2')}")
    session.say("0 4:on")
    session.wait_for("0 data from")
    assert len(session.processes()) >= 4
    session.process.send_signal(number)
    assert session.finish() == (128 + number if number == signal.SIGTERM else -number)
    session.wait_until_gone()


def test_an_application_that_fails_is_told_and_nodes_with_too_many_ranks_are_warned_of(converse, files) -> None:
    files("broken.py", "raise SystemExit(3)")
    files("applications.toml", '[broken]\nscript = "broken.py"\n')
    files("small.core", "compute-1:2:lhost\n")
    workload = files("broken.workload", "broken:compute-1:2\nbroken:lhost:1\n")
    session = converse(f"--workload={workload}", f"--corefile={workload.with_name('small.core')}")
    session.say("-3 1")
    session.say("-3 3")
    session.say("-2 none:compute-1:1")
    session.hang_up()
    assert session.finish() == 1
    assert "Warning: compute-1 has 2 cores for 3 ranks of all applications together" in session.lines
    assert "error: no room for 3 ranks: an application can have 2 more on these nodes" in session.lines
    assert "Allocation of 1: compute-1:1" in session.lines
    assert "error: no application 'none', expected one of broken" in session.lines
    assert "Application 0 ended with status 3" in session.lines
    assert f"See {session.folder / 'logs' / 'output1'}" in session.lines


def test_a_workload_that_is_wrong_is_refused_before_anything_starts(converse, files) -> None:
    workload = files("bad.workload", "count:compute-9:1\n")
    session = converse(f"--workload={workload}")
    assert session.finish() == 2
    assert session.lines == [
        f"flexmpi: error: workload {workload}, line 1: no node 'compute-9' in the corefile, expected one of compute-1"
    ]
    assert not session.folder.exists()
