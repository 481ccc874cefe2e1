"""The monitoring service: which counters its lines show."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from flexmpi.errors import CommandError, ConfigurationError
from flexmpi.protocol.address import Address
from flexmpi.runtime.reporting.monitoring import DEFAULT_COUNTERS, Monitor, parse_counters
from tests.udp import needs_ipv6


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    opened = Monitor(None, in_seconds=False)
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("text", "events"),
    [
        (None, ()),
        ("PAPI_TOT_INS", ("PAPI_TOT_INS",)),
        ("PAPI_DP_OPS,PAPI_TOT_CYC", ("PAPI_DP_OPS", "PAPI_TOT_CYC")),
        (" perf::CYCLES , INST_RETIRED.ANY", ("perf::CYCLES", "INST_RETIRED.ANY")),
    ],
)
def test_counters_are_one_or_two_events(text, events):
    assert parse_counters(text) == events


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "'' is not an event, expected a PAPI preset as PAPI_TOT_INS or a native event as INST_RETIRED"),
        ("flops", "'flops' is not an event"),
        ("PAPI_TOT_INS,", "'' is not an event"),
        ("PAPI_TOT_INS;rm", "'PAPI_TOT_INS;rm' is not an event"),
        ("PAPI_TOT_INS,PAPI_TOT_CYC,PAPI_DP_OPS", "takes one or two events, got 3"),
    ],
)
def test_other_counters_are_refused_before_anything_starts(text, why):
    with pytest.raises(ConfigurationError, match=f"--counters.* {why}"):
        parse_counters(text)


def test_the_second_counter_stays_where_none_is_named(monitor):
    assert monitor.counters == DEFAULT_COUNTERS
    assert monitor.with_others("PAPI_TOT_INS", None) == ("PAPI_TOT_INS", "PAPI_TOT_CYC")
    assert monitor.with_others("PAPI_TOT_INS", "perf::CYCLES") == ("PAPI_TOT_INS", "perf::CYCLES")
    monitor.counters = ("PAPI_DP_OPS",)
    assert monitor.with_others("PAPI_TOT_INS", None) == ("PAPI_TOT_INS",)


def test_a_name_that_is_no_event_changes_nothing(monitor):
    with pytest.raises(CommandError, match="'12' is not an event"):
        monitor.with_others("PAPI_TOT_INS", "12")
    assert monitor.counters == DEFAULT_COUNTERS


@pytest.mark.parametrize(
    ("family", "host"),
    [(socket.AF_INET, "127.0.0.1"), pytest.param(socket.AF_INET6, "::1", marks=needs_ipv6)],
)
def test_lines_go_to_addresses_of_both_families(family, host):
    with socket.socket(family, socket.SOCK_DGRAM) as end:
        end.bind((host, 0))
        end.settimeout(10.0)
        address = Address.of(end.getsockname())
        opened = Monitor(address, in_seconds=False)
        assert opened.switch(True) == f"monitoring is on, reports go to UDP {address}"
        opened.send("RELQIO")
        opened.close()
        assert end.recv(100) == b"RELQIO"


def test_a_host_that_is_not_known_is_named():
    with pytest.raises(ConfigurationError, match=r"--report: host 'no\.such\.host\.invalid' is not known: "):
        Monitor(Address("no.such.host.invalid", 6667), in_seconds=False)
