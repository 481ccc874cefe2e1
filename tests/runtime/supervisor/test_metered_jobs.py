"""What a supervisor has its nodes measure, in real jobs.

The jobs count with a fake PAPI, whose counts are made up, for the machine may have no counters; the real one says so, if it
has none. Energy is read from a powercap tree on disk.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flexmpi.runtime.machine.counters import parse_probe, probe_command
from flexmpi.runtime.supervisor.meters import refusals
from tests.applications import COREFILES, PROGRAMS, Application
from tests.powercap import Powercap
from tests.runtime.conftest import FAKE_PAPI

Start = Callable[..., Application]

NONE_HERE = "Event does not exist (PAPI_ENOEVNT)"
TWO_NODES = (f"--corefile={COREFILES / 'demo.core'}", "--interval=0.05s")
COUNTING = (PROGRAMS / "counting.py", "--pause=0.001")
FAKE = {"environment": {"PYTHONPATH": str(FAKE_PAPI)}}


# Counters in real jobs


@pytest.fixture
def controller() -> Iterator[socket.socket]:
    """A UDP socket where a controller would listen."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.bind(("127.0.0.1", 0))
        end.settimeout(30.0)
        yield end


def received(controller: socket.socket, pattern: str) -> str:
    """Wait for a line like this."""
    while not re.search(pattern, line := controller.recv(4096).decode()):
        pass
    return line


def counted(application: Application, *events: str) -> dict[str, Any]:
    """Wait for a sample in which these events were followed."""
    while tuple((sample := application.wait_for("sample"))["counters"]) != events:
        pass
    return sample


def test_ranks_count_from_their_start_what_the_option_names(start: Start, controller: socket.socket) -> None:
    counters = "--counters=PAPI_DP_OPS,PAPI_TOT_INS"
    application = start(*TWO_NODES, "-n2", counters, f"--report={controller.getsockname()[1]}", *COUNTING, **FAKE)
    sample = application.wait_for("sample")
    assert sample["counters"] == {"PAPI_DP_OPS": [300_000] * 2, "PAPI_TOT_INS": [1_000_000] * 2}
    assert application.send("4:on").startswith("ok: ")
    line = received(controller, " rtime ")
    assert re.search(r" Mflops [0-9]+ PAPI_DP_OPS 600000 PAPI_TOT_INS 2000000 Ratio=3.333333 iotime ", line)
    assert ", flops 600000, size 2, " in application.send("3:")
    assert application.send("5:").startswith("ok: ")
    status, output, errors = application.finish()
    rate = re.search(r"^Iter: [0-9]+ FLOPs: 300000 MFLOPs:: ([0-9.]+) RTIME:: ([0-9.]+) ", output, re.MULTILINE)
    assert rate is not None
    assert float(rate[1]) == pytest.approx(0.3 / float(rate[2]), rel=1e-3)
    assert (status, errors) == (143, "")


@pytest.mark.both_changes
def test_command_7_changes_what_all_ranks_count_and_newcomers_count_it_too(start: Start) -> None:
    application = start(*TWO_NODES, "-n2", *COUNTING, **FAKE)
    assert application.wait_for("sample")["counters"] == {}
    assert application.send("7:PAPI_TOT_INS:PAPI_TOT_CYC:") == "ok: counters are PAPI_TOT_INS and PAPI_TOT_CYC"
    sample = counted(application, "PAPI_TOT_INS", "PAPI_TOT_CYC")
    assert sample["counters"] == {"PAPI_TOT_INS": [1_000_000] * 2, "PAPI_TOT_CYC": [2_500_000] * 2}
    assert application.change("6:node2:1:lhost:1")["outcome"] == "done"
    assert application.wait_for("sample")["counters"]["PAPI_TOT_INS"] == [1_000_000] * 4
    assert application.send("7:PAPI_SP_OPS") == "ok: counters are PAPI_SP_OPS and PAPI_TOT_CYC"
    assert counted(application, "PAPI_SP_OPS", "PAPI_TOT_CYC")["counters"]["PAPI_SP_OPS"] == [40_000] * 4


@pytest.mark.both_changes
def test_what_to_count_outlives_the_first_ranks_and_parked_ranks_learn_it_when_they_are_back(start: Start) -> None:
    application = start(*TWO_NODES, "-n3", "--counters=PAPI_TOT_CYC", *COUNTING, **FAKE)
    application.wait_for("sample")
    assert application.change("6:lhost:-1")["outcome"] == "done"
    assert application.send("7:PAPI_TOT_INS:PAPI_SP_OPS").startswith("ok: ")
    assert application.change("6:lhost:1")["outcome"] == "done"
    assert counted(application, "PAPI_TOT_INS", "PAPI_SP_OPS")["counters"]["PAPI_SP_OPS"] == [40_000] * 3
    assert application.change("6:lhost:-3:node2:1")["outcome"] == "done"
    assert application.send("7:PAPI_TOT_CYC:PAPI_SP_OPS").startswith("ok: ")
    assert counted(application, "PAPI_TOT_CYC", "PAPI_SP_OPS")["counters"]["PAPI_TOT_CYC"] == [2_500_000]


def test_the_reply_says_what_is_not_counted_and_what_could_be(start: Start, controller: socket.socket) -> None:
    application = start(*TWO_NODES, "-n1", f"--report={controller.getsockname()[1]}", *COUNTING, **FAKE)
    application.wait_for("sample")
    could = "what can be counted there: PAPI_DP_OPS, PAPI_SP_OPS, PAPI_TOT_CYC, PAPI_TOT_INS"
    refused = f"error: the counters stay as they are: PAPI_L1_DCM and perf::CYCLES on demo-1: {NONE_HERE}; {could}"
    assert application.send("7:PAPI_L1_DCM:perf::CYCLES") == refused
    application.send("4:on")
    assert " PAPI_SP_OPS n/a PAPI_TOT_CYC n/a Ratio=n/a " in received(controller, " rtime ")
    assert application.send("7:PAPI_L1_DCM:PAPI_TOT_INS") == (
        f"ok: counters are PAPI_L1_DCM and PAPI_TOT_INS; shown as n/a: PAPI_L1_DCM on demo-1: {NONE_HERE}; {could}"
    )
    assert received(controller, " PAPI_L1_DCM n/a PAPI_TOT_INS 1000000 Ratio=n/a ")
    assert ", PAPI_L1_DCM n/a, PAPI_TOT_INS 1000000, energy " in application.send("3:")
    assert application.send("1:monitor").startswith("ok: ")
    application.wait_for("sample")
    application.wait_for("sample")
    application.send("5:")
    _, output, errors = application.finish()
    assert re.search(r"^\[0\] load .* PAPI_L1_DCM n/a PAPI_TOT_INS 1000000$", output, re.MULTILINE)
    assert errors == ""


def test_a_counter_that_is_lost_during_the_run_is_warned_of_once_with_the_reason(start: Start) -> None:
    environment = {**FAKE["environment"], "FAKE_PAPI_READINGS": "6"}
    application = start(*TWO_NODES, "-n1", "--counters=PAPI_TOT_INS", *COUNTING, environment=environment)
    while application.wait_for("sample")["counters"] != {"PAPI_TOT_INS": [None]}:
        pass
    application.wait_for("sample")
    application.send("5:")
    _, _, errors = application.finish()
    assert re.fullmatch(
        r"flexmpi: warning: PAPI_TOT_INS is not counted and shown as n/a: .* \(PAPI_ENOTRUN\) \(rank 0 .*\)\n", errors
    )


def test_a_counter_of_the_option_that_there_is_not_is_warned_of_once_and_the_job_goes_on(start: Start) -> None:
    application = start(*TWO_NODES, "-n2", "--counters=PAPI_FP_OPS,PAPI_TOT_INS", *COUNTING, **FAKE)
    assert application.wait_for("sample")["counters"] == {"PAPI_FP_OPS": [None] * 2, "PAPI_TOT_INS": [1_000_000] * 2}
    application.send("5:")
    _, output, errors = application.finish()
    assert re.fullmatch(
        rf"flexmpi: warning: PAPI_FP_OPS is not counted and shown as n/a: {re.escape(NONE_HERE)} \(rank . .*\)\n",
        errors,
    )
    assert " FLOPs: n/a MFLOPs:: n/a " in output


def test_the_reply_has_the_words_of_the_real_papi_where_it_refuses(start: Start) -> None:
    pytest.importorskip("pypapi", reason="there is no python-papi for this processor or Python")
    application = start(*TWO_NODES, "-n1", *COUNTING)
    application.wait_for("sample")
    events = ["PAPI_TOT_INS", "PAPI_NOT_ANY_ONE"]
    found = asyncio.run(_output_of(probe_command(events)))
    why = refusals({"demo-1": parse_probe(found)})
    assert "PAPI_NOT_ANY_ONE" in why
    assert "PAPI_E" in why
    reply = application.send(f"7:{':'.join(events)}")
    if "PAPI_TOT_INS" in parse_probe(found).refused:
        assert reply == f"error: the counters stay as they are: {why}"
    else:
        assert reply == f"ok: counters are {' and '.join(events)}; shown as n/a: {why}"
        assert counted(application, *events)["counters"]["PAPI_TOT_INS"][0] > 0


async def _output_of(command: list[str]) -> str:
    child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    return (await child.communicate())[0].decode()


def test_a_papi_that_hangs_is_answered_for_in_time_and_the_application_computes_on(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "pypapi.py").write_text("import threading; threading.Event().wait()")
    application = start(*TWO_NODES, "-n1", *COUNTING, environment={"PYTHONPATH": str(tmp_path)})
    application.wait_for("sample")
    # The node's own limit is a little shorter than the supervisor's, unless the machine is very busy.
    assert re.fullmatch(
        "error: the counters stay as they are: PAPI_TOT_INS and PAPI_TOT_CYC on demo-1: .*no answer within [34] s",
        application.send("7:PAPI_TOT_INS:"),
    )
    assert application.wait_for("sample")["counters"] == {}


# Energy in real jobs


@pytest.fixture
def tree(tmp_path: Path) -> Powercap:
    powercap = Powercap(tmp_path / "powercap")
    powercap.add("intel-rapl:0", "package-0", range_uj=262_143_328_850, energy_uj=262_143_000_000)
    powercap.add("intel-rapl:0:0", "dram", range_uj=65_712_999_613)
    return powercap


def spent(application: Application, tree: Powercap, joules: float) -> dict[str, Any]:
    """Have the first package use so much, and return the reading that has it.

    On a machine so busy that its launcher answers too late a period is missing, and what was used in it.
    """
    while True:
        tree.use("intel-rapl:0", joules)
        used = 0.0
        while used is not None and used < joules:
            (machine,) = application.wait_for("energy")["machines"]
            used = used + machine["joules"]["rapl:package-0"] if machine["joules"] else None
        if used is not None:
            assert used == pytest.approx(joules)
            return machine


def test_energy_is_read_by_itself_once_for_a_machine_and_shown(
    start: Start, tree: Powercap, controller: socket.socket
) -> None:
    environment = {"FLEXMPI_POWERCAP": str(tree.root)}
    report = f"--report={controller.getsockname()[1]}"
    application = start(*TWO_NODES, "--nodes=2", "-n2", report, *COUNTING, environment=environment)
    sources = application.wait_for("energy_sources", node="demo-2")
    assert (sources["sources"], sources["missing"]) == (["rapl:package-0", "rapl:package-0/dram"], {})
    for command in ("4:on", "1:monitor"):
        assert application.send(command).startswith("ok: ")
    application.wait_for("energy")
    machine = spent(application, tree, 12.5)
    assert machine["nodes"] == ["demo-1", "demo-2"]
    assert machine["joules"]["rapl:package-0/dram"] == 0.0
    assert machine["seconds"] > 0
    form = r"energy [0-9.]+ J in [0-9.]+ s: rapl:package-0 [0-9.]+, rapl:package-0/dram 0.000000"
    assert received(controller, rf"^\[demo-1,demo-2\] {form}$")
    assert re.search(r", energy [0-9.]+ J in [0-9.]+ s \(rapl\)$", application.send("3:"))
    tree.file("intel-rapl:0:0").unlink()
    while (machine := application.wait_for("energy")["machines"][0])["joules"]["rapl:package-0/dram"] is not None:
        pass
    assert machine["total_j"] is None
    assert re.search(r", energy n/a$", application.send("3:"))
    assert machine["missing"] == {"rapl:package-0/dram": "energy_uj: No such file or directory"}
    tree.file("intel-rapl:0").write_text("300000000000\n")
    while (machine := application.wait_for("energy")["machines"][0])["joules"].get("rapl:package-0", 0.0) is not None:
        pass
    application.send("5:")
    _, output, errors = application.finish()
    assert re.search(rf"^\[demo-1,demo-2\] {form}$", output, re.MULTILINE)
    assert errors.splitlines() == [
        f"flexmpi: warning: rapl:package-0{part} of demo-1,demo-2 is shown as n/a: {why}"
        for part, why in (
            ("/dram", "energy_uj: No such file or directory"),
            ("", "energy_uj is above its range of 262143328850 (max_energy_range_uj)"),
        )
    ]


def test_without_meters_energy_is_missing_and_the_log_says_why(start: Start, tmp_path: Path) -> None:
    application = start(*TWO_NODES, "-n1", *COUNTING, environment={"FLEXMPI_POWERCAP": str(tmp_path / "none")})
    sources = application.wait_for("energy_sources")
    assert (sources["sources"], sources["missing"]) == ([], {str(tmp_path / "none"): "No such file or directory"})
    for _ in range(4):
        application.wait_for("sample")
    assert application.send("3:").endswith(", energy n/a")
    assert not [event for event in application.seen if event["event"] == "energy"]
