"""The lines FlexMPI prints about an application, letter by letter."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from flexmpi.cluster.platform import Node
from flexmpi.runtime.job.measurements import EnergyReading, IntervalReport
from flexmpi.runtime.job.reconfiguration import Reconfiguration
from flexmpi.runtime.reporting import report

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
    assert report.interval_line(INTERVAL) == (
        "Iter: 300 FLOPs: n/a MFLOPs:: n/a RTIME:: 7.201046 PTIME:: 7.100000 CTIME:: 0.000671 IOTime:: 0.250000 Size: 2"
    )


def test_the_report_line_has_real_and_processor_time_in_whole_microseconds():
    assert report.monitoring_line(INTERVAL, "compute-1", COUNTERS, in_seconds=False) == (
        "[compute-1] rtime 7201046 ptime 7100000 ctime 0.000671 Mflops n/a PAPI_SP_OPS n/a PAPI_TOT_CYC n/a "
        "Ratio=n/a iotime 0.250000 size 2"
    )


def test_the_report_line_can_have_seconds():
    assert report.monitoring_line(INTERVAL, "compute-1", COUNTERS, in_seconds=True).startswith(
        "[compute-1] rtime 7.201046 ptime 7.100000 ctime 0.000671 "
    )


def test_what_is_not_measured_is_never_0():
    lines = [
        report.interval_line(INTERVAL),
        report.monitoring_line(INTERVAL, "h", COUNTERS, in_seconds=False),
        report.performance_line(INTERVAL, "h"),
    ]
    for line in lines:
        for figure in ("FLOPs", "MFLOPs", "Mflops", "PAPI_SP_OPS", "PAPI_TOT_CYC", "flops"):
            assert not re.search(rf"\b{figure}:?:? 0", line)
    assert "flops n/a" in report.performance_line(INTERVAL, "h")
    assert report.performance_line(INTERVAL, "h").endswith("energy n/a")


def test_the_performance_values_are_those_of_the_original_and_where_they_were_taken():
    assert report.performance_line(INTERVAL, "compute-1") == (
        "** [compute-1] rtime is 7.201046, ptime 7.100000, ctime 0.000671, iotime 0.250000, flops n/a, size 2, "
        "iteration 300, energy n/a"
    )


# Counters


def counting(**counters: list[int | None]) -> IntervalReport:
    return replace(INTERVAL, counters=counters)


def test_operations_of_rank_0_and_their_rate_by_its_real_time_are_in_the_line_of_an_interval():
    counted = counting(PAPI_FP_OPS=[36_302_258_270, 5])
    assert report.interval_line(counted).startswith(
        "Iter: 300 FLOPs: 36302258270 MFLOPs:: 5041.247934 RTIME:: 7.201046 "
    )


def test_instructions_are_called_instructions_and_are_no_operations():
    """The original calls PAPI_TOT_INS FLOPs."""
    counted = counting(PAPI_TOT_INS=[1000, 2000], PAPI_FP_INS=[10, 20], PAPI_VEC_INS=[1, 2])
    assert counted.flops_events == ()
    assert report.interval_line(counted).startswith("Iter: 300 FLOPs: n/a MFLOPs:: n/a ")
    line = report.monitoring_line(counted, "h", ("PAPI_TOT_INS", "PAPI_FP_INS"), in_seconds=False)
    assert " Mflops n/a PAPI_TOT_INS 3000 PAPI_FP_INS 30 Ratio=0.010000 " in line
    assert ", flops n/a, size 2, iteration 300, PAPI_TOT_INS 3000, PAPI_FP_INS 30, " in report.performance_line(
        counted, "h"
    )


@pytest.mark.parametrize(
    ("counters", "events", "flops"),
    [
        ({"PAPI_SP_OPS": [5, 6]}, ("PAPI_SP_OPS",), [5, 6]),
        ({"PAPI_DP_OPS": [7, None]}, ("PAPI_DP_OPS",), [7, None]),
        ({"PAPI_DP_OPS": [7, None], "PAPI_SP_OPS": [5, 6]}, ("PAPI_SP_OPS", "PAPI_DP_OPS"), [12, None]),
        ({"PAPI_DP_OPS": [7, 8], "PAPI_FP_OPS": [9, 10]}, ("PAPI_FP_OPS",), [9, 10]),
        ({"PAPI_DP_OPS": [7, 8], "PAPI_FP_OPS": [None, None]}, ("PAPI_DP_OPS",), [7, 8]),
        ({"PAPI_DP_OPS": [7, 8], "PAPI_FP_OPS": [9, None]}, ("PAPI_FP_OPS",), [9, None]),
        ({}, (), [None, None]),
    ],
)
def test_operations_are_those_of_all_kinds_or_of_each_precision(counters, events, flops):
    assert counting(**counters).flops_events == events
    assert counting(**counters).flops == flops


def test_the_report_line_has_what_all_ranks_counted():
    counted = counting(PAPI_SP_OPS=[7_201_046, 7_201_046], PAPI_TOT_CYC=[24_000_000, 5_000_000])
    assert report.monitoring_line(counted, "compute-1", COUNTERS, in_seconds=False) == (
        "[compute-1] rtime 7201046 ptime 7100000 ctime 0.000671 Mflops 2 PAPI_SP_OPS 14402092 PAPI_TOT_CYC 29000000 "
        "Ratio=2.013596 iotime 0.250000 size 2"
    )


def test_a_total_of_which_a_rank_is_missing_is_missing():
    counted = counting(PAPI_SP_OPS=[5, None], PAPI_TOT_CYC=[7, 8])
    line = report.monitoring_line(counted, "h", COUNTERS, in_seconds=False)
    assert " Mflops n/a PAPI_SP_OPS n/a PAPI_TOT_CYC 15 Ratio=n/a " in line
    assert " flops n/a, size 2, iteration 300, PAPI_SP_OPS n/a, PAPI_TOT_CYC 15, " in report.performance_line(
        counted, "h"
    )
    assert report.interval_line(counted).startswith("Iter: 300 FLOPs: 5 ")


def test_a_counter_that_was_measured_as_0_is_0_and_has_no_ratio():
    """In the manual the ratio is ``inf`` or ``-nan`` there."""
    counted = counting(PAPI_SP_OPS=[0, 0], PAPI_TOT_CYC=[7, 8])
    line = report.monitoring_line(counted, "h", COUNTERS, in_seconds=False)
    assert " Mflops 0 PAPI_SP_OPS 0 PAPI_TOT_CYC 15 Ratio=n/a " in line


def test_the_policy_monitor_prints_the_counters_of_each_rank():
    assert report.rank_lines(counting(PAPI_TOT_INS=[9, None])) == [
        "[0] load 250 rtime 7.201046 ptime 7.100000 ctime 0.000671 iotime 0.250000 PAPI_TOT_INS 9",
        "[1] load 250 rtime 7.300000 ptime 7.200000 ctime 0.100000 iotime 0.000000 PAPI_TOT_INS n/a",
    ]


# Energy


FIRST = EnergyReading(
    ("n1", "n2"), 0.5, {"rapl:package-0": 10.0, "rapl:package-0/core": 7.0, "rapl:package-0/dram": 2.5}
)
SECOND = EnergyReading(("n3",), 0.52, {"rapl:package-0": 20.0})
BROKEN = EnergyReading(("n4",), 0.5, {"rapl:package-0": None})


def test_the_performance_values_have_the_energy_of_all_machines_or_none():
    assert report.performance_line(INTERVAL, "h", [FIRST, SECOND]).endswith(", energy 32.500000 J in 0.520000 s (rapl)")
    assert report.performance_line(INTERVAL, "h", [FIRST, BROKEN]).endswith(", energy n/a")


def test_a_machines_energy_is_shown_with_the_meters_that_say_so():
    assert report.energy_line(FIRST) == (
        "[n1,n2] energy 12.500000 J in 0.500000 s: "
        "rapl:package-0 10.000000, rapl:package-0/core 7.000000, rapl:package-0/dram 2.500000"
    )
    assert report.energy_line(BROKEN) == "[n4] energy n/a: rapl:package-0 n/a"


def test_the_policy_monitor_prints_a_line_for_each_rank():
    assert report.rank_lines(INTERVAL) == [
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
