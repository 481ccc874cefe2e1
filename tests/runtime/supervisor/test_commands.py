"""Every numbered command to a running application: what it does, and the reply that each gets."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from flexmpi.runtime.job.measurements import IntervalReport
from flexmpi.runtime.job.policies import POLICIES
from flexmpi.runtime.reporting.report import monitoring_line
from tests.applications import COREFILES, PROGRAMS, Application

TWO_NODES = f"--corefile={COREFILES / 'demo.core'}"
COUNTING = (PROGRAMS / "counting.py", "--pause=0.001")
QUICK = (TWO_NODES, "--interval=0.05s")
ANSWER_LIMIT_S = 10.0


def datagram(application: Application, content: bytes) -> str:
    """Send bytes as any UDP client would and return the reply."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.settimeout(ANSWER_LIMIT_S)
        end.sendto(content, application.address())
        return end.recv(65536).decode()


def interval_of(sample: dict[str, object]) -> IntervalReport:
    return IntervalReport(**{name: sample[name] for name in IntervalReport.__annotations__})


def printed(application: Application) -> list[str]:
    """End an application and return what it has printed."""
    assert application.send("5:").startswith("ok: ")
    return application.finish()[1].splitlines()


# What is accepted, and from whom


@pytest.mark.parametrize("padding", [b"", b":", b"\0", b"\n", b"   ", b":" + b"\0" * 480, b" \r\n\0\0"])
def test_a_command_is_taken_with_any_padding(running, padding):
    assert datagram(running, b"12:hello" + padding.replace(b":", b"")) == "ok: printed"
    assert datagram(running, b"10:1" + padding).startswith("ok: ")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """Two ranks on two nodes that may not become fewer."""
    application = Application((*QUICK, "--nodes=2", "-n2", *COUNTING), folder=tmp_path_factory.mktemp("running"))
    application.wait_for("sample")
    yield application
    application.close()


WRONG = {
    "": "empty command (expected NUMBER:…, commands are 1 to 13)",
    "14:": "unknown command number 14 (commands are 1 to 13)",
    "grow:2": "'grow' is not a command number (commands are 1 to 13)",
    "6:gpu:1": "no node or alias 'gpu', expected one of lhost, node2",
    "6:lhost:two": "command 6: 'two' is not a whole number (expected 6:NODE:±N:NODE:±N…)",
    "6:lhost:": "command 6: fields are missing (expected 6:NODE:±N:NODE:±N…)",
    "6:lhost:9": "cannot add 9 ranks to lhost, free cores there: 3 (3 on demo-1)",
    "6:lhost:-2": "cannot remove 2 ranks from lhost, ranks there: 1 (1 on demo-1)",
    "6:lhost:-1": "the change would leave ranks on 1 node, below the minimum of 2",
    "6:lhost:-1:node2:-1": "the change would leave no rank at all, expected 1 or more to stay",
    "6:lhost:1:demo-1:-1": "nothing to change: the numbers of ranks to add and remove come to 0 on every node",
    "11:100:gpu:1": "no node or alias 'gpu', expected one of lhost, node2",
    "11:100:lhost:9": "cannot add 9 ranks to lhost, free cores there: 3 (3 on demo-1)",
    "11:soon:lhost:1": "command 11: 'soon' is not a whole number (expected 11:ITERATION:NODE:±N:NODE:±N…)",
    "8:7:0": "there is no rank 7: the application has ranks 0 to 1",
    "8:0": "command 8: fields are missing (expected 8:RANK:CORE:RANK:CORE…)",
    "4:maybe": "command 4: 'maybe' is neither 'on' nor 'off' (expected 4:on or 4:off)",
    "4:on": "there is nobody to report to: start with --report [HOST:]PORT",
    "1:FASTEST": f"unknown policy 'FASTEST' (there are {', '.join(POLICIES)})",
    "1:MALLEABILITY": "there is no schedule: start with --schedule FILE",
    "1:balance:0:0": "the threshold of policy balance must be positive, got 0",
    "7:hello:": "'hello' is not an event, expected a PAPI preset as PAPI_TOT_INS or a native event as INST_RETIRED",
    "7:PAPI_tot_ins": "'PAPI_tot_ins' is not an event, expected a PAPI preset as PAPI_TOT_INS or a native event as INST_RETIRED",
    "7:PAPI_TOT_INS:12": "'12' is not an event, expected a PAPI preset as PAPI_TOT_INS or a native event as INST_RETIRED",
    "9:-1": "command 9: '-1' is not between 0 and 1000000 (expected 9:SECONDS)",
    "10:2": "command 10: '2' is not 1 (expected 10:1)",
    "10:1\0\0 5:": "text after a NUL byte (expected NULs at the end only)",
    "12:": "command 12: nothing follows the number (expected 12:TEXT)",
}


@pytest.mark.parametrize(("command", "why"), WRONG.items())
def test_what_is_wrong_with_a_command_is_replied(running, command, why):
    assert running.send(command) == f"error: {why}"


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        (
            "3:",
            r"\*\* \[demo-1\] rtime is [\d.]+, ptime [\d.]+, ctime [\d.]+, iotime [\d.]+, flops n/a, size 2, .*, energy n/a",
        ),
        ("4:off", "monitoring is off"),
        ("9:0", "the next I/O phase begins 0 s later"),
        ("10:1", "no I/O phase waits"),
        ("12:half past 10:30", "printed"),
        ("1:MONITORDBG", "policy is monitor: prints every rank's figures after each interval, .*"),
        ("1:LBALANCE:0:0.5", r"policy is balance: .* \(from an imbalance of 0.5 in 2 intervals in a row on\)"),
        ("1:EMPI_Monitor_malleability_triggered", "policy is triggered: changes only by commands"),
        ("11:900000:node2:2", "reconfiguration [0-9]+: start 2 ranks on demo-2 at iteration 900000"),
    ],
)
def test_what_will_be_done_is_replied(running, command, reply):
    assert re.fullmatch(f"ok: {reply}", running.send(command))


def test_a_change_for_an_iteration_is_checked_against_those_planned_before_it(running):
    assert running.send("11:700000:lhost:3").startswith("ok: reconfiguration ")
    assert running.send("11:800000:lhost:1") == "error: cannot add 1 rank to lhost, free cores there: 0"
    assert running.send("11:750000:lhost:-2").startswith("ok: reconfiguration ")
    assert running.send("11:800000:lhost:1").startswith("ok: reconfiguration ")


def test_nping_of_the_manual_works_unchanged(start):
    if shutil.which("nping") is None:
        pytest.skip("nping is not installed: apt-get install nmap")
    application = start(*QUICK, "-n1", *COUNTING)
    application.wait_for("loop")
    port = application.address().port
    command = ["nping", "--udp", "-p", str(port), "-c", "1", "127.0.0.1", "--data-string", "6:lhost:2"]
    sent = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if "SENT" not in sent.stdout:
        pytest.skip(f"nping cannot send here: {sent.stderr.strip() or sent.stdout.strip()}")
    done = application.wait_for("reconfiguration")
    assert (done["cause"], done["outcome"], done["ranks_after"]) == ("udp 6:lhost:2", "done", 3)


# 6 and 11: ranks come and go


def test_a_node_is_known_by_alias_host_name_and_localhost(start):
    application = start(*QUICK, "-n2", *COUNTING)
    application.wait_for("loop")
    done = [application.change(command) for command in ("6:node2:1:", "6:demo-2:1", "6:localhost:-1")]
    assert [record["changes"] for record in done] == [{"demo-2": 1}, {"demo-2": 1}, {"demo-1": -1}]


@pytest.mark.both_changes
def test_commands_in_a_row_are_carried_out_in_order_and_a_migration_at_once(start):
    application = start(*QUICK, "-n2", *COUNTING)
    commands = ["6:lhost:1", "6:lhost:-2:node2:1", "6:node2:1", "6:lhost:-1"]
    replies = [application.send(command) for command in commands]
    assert replies == [
        "ok: reconfiguration 1: start 1 rank on demo-1",
        "ok: reconfiguration 2: retire 2 ranks on demo-1, start 1 rank on demo-2",
        "ok: reconfiguration 3: start 1 rank on demo-2",
        "ok: reconfiguration 4: retire 1 rank on demo-1",
    ]
    assert application.send("6:lhost:-1").startswith("error: cannot remove 1 rank from lhost, ranks there: 0")
    done = [application.wait_for("reconfiguration") for _ in commands]
    assert [(record["id"], record["outcome"], record["cause"]) for record in done] == [
        (number, "done", f"udp {command}") for number, command in enumerate(commands, start=1)
    ]
    assert [(record["ranks_before"], record["ranks_after"]) for record in done] == [(2, 3), (3, 2), (2, 3), (3, 2)]


@pytest.mark.both_changes
def test_a_planned_change_happens_exactly_at_its_iteration_between_two_regular_agreement_points(start):
    application = start(TWO_NODES, "--interval=20", "-n3", PROGRAMS / "counting.py", "--pause=0.01")
    application.wait_for("loop")
    # By handover a world is started meanwhile.
    assert application.send("11:550:lhost:-1") == "ok: reconfiguration 1: retire 1 rank on demo-1 at iteration 550"
    done = application.wait_for("reconfiguration", id=1)
    assert (done["outcome"], done["iteration"], done["ranks_after"]) == ("done", 550, 2)
    assert [application.wait_for("sample", iteration=number)["iteration"] for number in (560, 580)] == [560, 580]


@pytest.mark.both_changes
def test_a_planned_change_whose_iteration_has_passed_happens_at_the_next_agreement_point(start):
    application = start(TWO_NODES, "--interval=20", "-n2", PROGRAMS / "counting.py", "--pause=0.005")
    application.wait_for("sample", iteration=40)
    planned = application.change("11:30:lhost:-1")
    assert planned["outcome"] == "done"
    assert planned["iteration"] >= 40
    assert planned["iteration"] % 20 == 0


@pytest.mark.both_changes
def test_a_planned_change_that_has_become_impossible_is_dropped_under_its_id(start):
    application = start(TWO_NODES, "--interval=20", "-n2", PROGRAMS / "counting.py", "--pause=0.01")
    application.wait_for("loop")
    assert application.send("11:600:lhost:2").startswith("ok: reconfiguration 1: ")
    assert application.change("6:lhost:2")["outcome"] == "done"
    dropped = application.wait_for("reconfiguration", id=1)
    assert dropped["outcome"] == "failed"
    assert dropped["why"] == "planned for iteration 600: cannot add 2 ranks to lhost, free cores there: 0"


# 2 and 3


def test_the_performance_values_wait_for_a_first_interval_and_are_printed_too(start):
    application = start(TWO_NODES, "--interval=100", "-n2", *COUNTING)
    application.wait_for("listening")
    assert application.send("3:") == "error: no sampling interval has ended yet"
    application.wait_for("sample")
    values = application.send("3:").removeprefix("ok: ")
    assert values.startswith("** [demo-1] rtime is ")
    assert values in printed(application)


# 4: monitoring


@pytest.fixture
def controller() -> Iterator[socket.socket]:
    """A UDP socket where a controller would listen."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.bind(("127.0.0.1", 0))
        end.settimeout(ANSWER_LIMIT_S)
        yield end


def reports(controller: socket.socket) -> str:
    return f"--report={controller.getsockname()[1]}"


@pytest.mark.parametrize("units", ["us", "s"])
def test_monitoring_sends_one_line_an_interval_while_it_is_on(start, controller, units):
    arguments = (*QUICK, "-n2", reports(controller), f"--report-units={units}", *COUNTING)
    application = start(*arguments)
    application.wait_for("sample")
    assert application.send("4:on").startswith("ok: monitoring is on, reports go to UDP 127.0.0.1:")
    lines = [controller.recv(4096).decode() for _ in range(4)]
    assert application.send("4:off:") == "ok: monitoring is off"
    turned_off_at = time.time()
    controller.settimeout(0.0)
    while (late := _received(controller)) is not None:
        lines.append(late)
    for _ in range(3):
        while application.wait_for("sample")["time"] < turned_off_at:
            pass
    assert _received(controller) is None
    samples = [interval_of(event) for event in application.seen if event["event"] == "sample"]
    expected = [
        monitoring_line(sample, "demo-1", ("PAPI_SP_OPS", "PAPI_TOT_CYC"), in_seconds=units == "s")
        for sample in samples
    ]
    first = expected.index(lines[0])
    assert lines == expected[first : first + len(lines)]
    time_form = r"[0-9]+\.[0-9]{6}" if units == "s" else "[0-9]+"
    assert re.match(rf"\[demo-1\] rtime {time_form} ptime {time_form} ctime [0-9]+\.[0-9]{{6}} Mflops n/a ", lines[0])


def _received(end: socket.socket) -> str | None:
    try:
        return end.recv(4096).decode()
    except BlockingIOError:
        return None


# 5: the end


def ends_at_once(application: Application) -> tuple[int, str, str]:
    """The original sleeps for a minute here."""
    began = time.monotonic()
    ended = application.finish()
    assert time.monotonic() - began < 20
    return ended


def test_terminate_ends_at_the_next_agreement_point_with_status_143(start):
    application = start(*QUICK, "-n2", *COUNTING)
    application.wait_for("sample")
    assert application.send("5:") == "ok: the application ends at its next agreement point"
    assert ends_at_once(application)[::2] == (143, "")


@pytest.mark.both_changes
def test_terminate_works_while_ranks_are_starting(start):
    application = start(*QUICK, "-n2", *COUNTING)
    application.wait_for("sample")
    assert application.send("6:node2:1").startswith("ok: ")
    assert application.send("5:").startswith("ok: ")
    dropped = application.wait_for("reconfiguration", id=1)
    assert (dropped["outcome"], dropped["why"]) == ("failed", "the application ended first")
    assert ends_at_once(application)[0] == 143


@pytest.mark.both_changes
def test_terminate_reaches_the_application_after_its_first_ranks_have_gone(start):
    application = start(*QUICK, "-n1", *COUNTING)
    assert application.change("6:lhost:-1:node2:1")["outcome"] == "done"
    assert application.send("5:").startswith("ok: ")
    assert ends_at_once(application)[::2] == (143, "")


def test_terminate_ends_a_program_that_has_not_begun_to_iterate(start, tmp_path):
    script = tmp_path / "reading.py"
    script.write_text("import threading\nthreading.Event().wait(60)\n")
    application = start(*QUICK, "-n2", script)
    application.wait_for("started")
    assert application.send("5:").startswith("ok: ")
    status, _, errors = ends_at_once(application)
    assert status == 143
    assert errors.startswith("flexmpi: error: terminated by a command before it reached its first iteration\n")
    assert "Traceback" not in errors


# 9 and 10: I/O

WRITING = (PROGRAMS / "writing.py", "--pause=0.001")


def test_without_a_controller_io_phases_of_all_ranks_never_block(start):
    application = start(*QUICK, "-n3", *WRITING, "--iterations=60")
    status, output, errors = application.finish()
    assert (status, errors) == (0, "")
    assert "written\n" in output


def test_a_delay_holds_one_io_phase_and_a_grant_ends_it(start):
    application = start(*QUICK, "-n2", *WRITING)
    application.wait_for("sample")
    assert application.send("9:0.7").startswith("ok: the ")
    while min((held := application.wait_for("sample"))["io_s"]) < 0.65:
        assert held["iteration"] < 20_000
    assert application.send("9:1000").startswith("ok: the ")
    while application.send("10:1") != "ok: the I/O phase begins":
        # Not there yet, and now without its delay: hold the next one.
        assert application.send("9:1000").startswith("ok: the ")
    application.wait_for("sample")


def test_a_controller_is_asked_for_each_io_phase_and_told_of_its_end(start, controller):
    application = start(*QUICK, "-n2", reports(controller), "--io-controller", *WRITING, "--iterations=3")
    for _ in range(3):
        assert controller.recv(4096) == b"ACQIO: 400"
        controller.settimeout(0.1)
        with pytest.raises(TimeoutError):
            controller.recv(4096)
        controller.settimeout(ANSWER_LIMIT_S)
        while application.send("10:1") != "ok: the I/O phase begins":
            pass
        assert controller.recv(4096) == b"RELQIO"
    assert application.finish()[0] == 0


def test_terminate_does_not_wait_for_a_controller_that_never_grants(start, controller):
    application = start(*QUICK, "-n2", reports(controller), "--io-controller", *WRITING)
    assert controller.recv(4096).startswith(b"ACQIO: ")
    assert application.send("5:").startswith("ok: ")
    assert ends_at_once(application)[0] == 143


# 12, and what is printed


def test_messages_and_refusals_are_printed_in_the_applications_output(start):
    application = start(*QUICK, "-n1", *COUNTING)
    application.wait_for("sample")
    application.send("12:half past 10:30")
    application.send("6:gpu:1")
    lines = printed(application)
    assert "half past 10:30" in lines
    assert any(re.fullmatch(r"Refused packet from 127\.0\.0\.1:\d+: no node or alias 'gpu'.*", line) for line in lines)


# 1: policies


@pytest.mark.both_changes
def test_the_policy_monitor_prints_each_ranks_figures_until_another_is_in_force(start):
    application = start(*QUICK, "-n2", *COUNTING)
    application.wait_for("loop")
    assert application.send("1:MONITORDBG").startswith("ok: policy is monitor")
    application.wait_for("sample"), application.wait_for("sample")
    assert application.send("1:triggered").startswith("ok: policy is triggered")
    application.wait_for("sample"), application.wait_for("sample")
    lines = printed(application)
    assert [line for line in lines if line.startswith("Policy is")] == [
        "Policy is triggered",
        "Policy is monitor",
        "Policy is triggered",
    ]
    begin, end = lines.index("Policy is monitor"), len(lines) - lines[::-1].index("Policy is triggered")
    figures = re.compile(r"\[([01])\] load 500 rtime [\d.]+ ptime [\d.]+ ctime [\d.]+ iotime [\d.]+")
    found = [number for number, line in enumerate(lines) if figures.fullmatch(line)]
    assert len(found) >= 2
    assert begin < min(found) and max(found) < end
