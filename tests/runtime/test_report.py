"""The lines FlexMPI prints about an application, letter by letter."""

from __future__ import annotations

import re

import pytest

from flexmpi.configuration import Node
from flexmpi.runtime import report
from flexmpi.runtime.reconfiguration import Reconfiguration
from flexmpi.runtime.report import IntervalReport

INTERVAL = IntervalReport(
    iteration=300,
    iterations=100,
    next_at=400,
    load=[250.0, 250.0],
    weights=[5170.0, 5170.0],
    real_s=[7.201046, 7.3],
    processor_s=[7.1, 7.2],
    communication_s=[0.000671, 0.1],
    io_s=[0.25, 0.0],
)
COUNTERS = ("PAPI_SP_OPS", "PAPI_TOT_CYC")


def done(changes: dict[str, int], **others: object) -> Reconfiguration:
    figures = {"iteration": 601, "move_s": 0.001189, "balance_s": 1e-6, "part_s": 0.0221}
    return Reconfiguration(1, "udp", changes, figures=figures, **others)


def test_the_line_of_an_interval_has_the_times_of_rank_0():
    assert INTERVAL.line() == (
        "Iter: 300 FLOPs: n/a MFLOPs:: n/a RTIME:: 7.201046 PTIME:: 7.100000 CTIME:: 0.000671 IOTime:: 0.250000 Size: 2"
    )


def test_the_report_line_has_real_and_processor_time_in_whole_microseconds():
    assert INTERVAL.report_line("compute-1", COUNTERS, in_seconds=False) == (
        "[compute-1] rtime 7201046 ptime 7100000 ctime 0.000671 Mflops n/a PAPI_SP_OPS n/a PAPI_TOT_CYC n/a "
        "Ratio=n/a iotime 0.250000 size 2"
    )


def test_the_report_line_can_have_seconds():
    assert INTERVAL.report_line("compute-1", COUNTERS, in_seconds=True).startswith(
        "[compute-1] rtime 7.201046 ptime 7.100000 ctime 0.000671 "
    )


def test_what_is_not_measured_is_never_0():
    lines = [INTERVAL.line(), INTERVAL.report_line("h", COUNTERS, in_seconds=False), INTERVAL.performance("h")]
    for line in lines:
        for figure in ("FLOPs", "MFLOPs", "Mflops", "PAPI_SP_OPS", "PAPI_TOT_CYC", "flops"):
            assert not re.search(rf"\b{figure}:?:? 0", line)
    assert "flops n/a" in INTERVAL.performance("h")


def test_the_performance_values_are_those_of_the_original_and_where_they_were_taken():
    assert INTERVAL.performance("compute-1") == (
        "** [compute-1] rtime is 7.201046, ptime 7.100000, ctime 0.000671, iotime 0.250000, flops n/a, size 2, iteration 300"
    )


def test_the_policy_monitor_prints_a_line_for_each_rank():
    assert INTERVAL.rank_lines() == [
        "[0] load 250 rtime 7.201046 ptime 7.100000 ctime 0.000671 iotime 0.250000",
        "[1] load 250 rtime 7.300000 ptime 7.200000 ctime 0.100000 iotime 0.000000",
    ]


def test_computing_time_is_what_communication_and_io_leave_and_never_negative():
    assert INTERVAL.busy_s == pytest.approx([6.950375, 7.2])
    impossible = IntervalReport(1, 1, 2, [1], [1], [1.0], [1.0], [0.9], [0.3])
    assert impossible.busy_s == [0.0]


def test_the_lines_of_a_command():
    assert report.received_lines("10.0.40.12:52278", "6:lhost:2", 6) == [
        "Received packet from 10.0.40.12:52278 Data: 6:lhost:2",
        "Command number is 6",
    ]
    assert report.create_lines((("node1", 2), ("node2", 0), ("node3", -3))) == [
        "Command: Create 2 processes in compute node: node1",
        "Command: Create -3 processes in compute node: node3",
    ]
    assert report.sent_line(0) == "Sent 0 bytes as response"


def test_the_lines_of_ranks_that_have_joined():
    grown = done({"compute-1": 2, "compute-3": 1, "compute-4": -1}, start_s=0.924374)
    numbers = {2: "compute-1", 3: "compute-1", 4: "compute-3"}
    assert report.spawn_lines(grown, numbers, elapsed_s=43.300992) == [
        "Spawn 3 at 43.300992",
        "Host list: compute-1:2,compute-3:1",
        "[2] Process spawned in compute-1 at 601 | Data received in 0.001189 secs.",
        "[3] Process spawned in compute-1 at 601 | Data received in 0.001189 secs.",
        "[4] Process spawned in compute-3 at 601 | Data received in 0.001189 secs.",
        "Spawn cost:: process_creation= 0.924374 data_redistribution= 0.001189 LoadBalance_computation= 0.000001",
    ]


def test_the_lines_of_ranks_that_have_left_begin_with_the_highest():
    assert report.removal_lines(done({"h": -2}), {2: "h", 3: "h"}, elapsed_s=1.166718) == [
        "Remove 2 at 1.166718",
        "Process [3] removed from h",
        "Process [2] removed from h",
        "Removal cost:: process_destruction= 0.022100 data_redistribution= 0.001189 LoadBalance_computation= 0.000001",
    ]


def test_a_change_without_newcomers_leavers_or_balance_prints_nothing_of_them():
    assert report.spawn_lines(done({"h": -1}), {}, elapsed_s=1.0) == []
    assert report.removal_lines(done({"h": 1}), {}, elapsed_s=1.0) == []
    assert report.balance_lines(done({"h": 1})) == []


def test_the_line_of_a_balance():
    assert report.balance_lines(done({}, balance=True)) == [
        "LoadBalance cost:: data_redistribution= 0.001189 LoadBalance_computation= 0.000001"
    ]


def test_the_nodes_are_listed_at_the_start():
    assert report.host_lines([Node("compute-1", 12, "lhost"), Node("compute-2", 24, "node2")]) == [
        "Host compute-1 maxprocs is 12. ID is 0",
        "Host compute-2 maxprocs is 24. ID is 1",
    ]
