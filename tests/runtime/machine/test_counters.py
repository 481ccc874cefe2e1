"""Hardware counters: by the real PAPI, which refuses where the machine has none, and by a fake with made-up counts."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flexmpi.runtime.machine.counters import Counters, counted_between, parse_probe, probe, probe_command
from tests.runtime.conftest import FAKE_PAPI

NO_SUCH_EVENT = "PAPI_NOT_ANY_ONE"


# The real library


needs_papi = pytest.mark.skipif(
    importlib.util.find_spec("pypapi") is None, reason="there is no python-papi for this processor or Python"
)


@needs_papi
def test_the_real_papi_refuses_an_event_that_no_machine_has_and_says_why():
    counters = Counters([NO_SUCH_EVENT])
    assert counters.refused.keys() == {NO_SUCH_EVENT}
    assert "PAPI_E" in counters.refused[NO_SUCH_EVENT]
    assert counters.read() == (None,)
    counters.close()


@needs_papi
def test_the_real_papi_either_counts_instructions_or_says_why_not():
    counters = Counters(["PAPI_TOT_INS"])
    before = counters.read()
    assert sum(range(10_000)) == 49_995_000
    (instructions,) = counted_between(before, counters.read())
    counters.close()
    if counters.refused:
        # Of a virtual machine without a PMU PAPI says "Unknown error code": that alone would help nobody.
        assert "is disabled: " in counters.refused["PAPI_TOT_INS"] or "PAPI_E" in counters.refused["PAPI_TOT_INS"]
        assert instructions is None
    else:
        assert instructions > 10_000


@needs_papi
def test_a_probe_in_its_own_process_finds_the_same_as_one_in_this():
    events = ["PAPI_TOT_INS", NO_SUCH_EVENT]
    done = subprocess.run(probe_command(events), capture_output=True, text=True, timeout=60, check=True)
    assert parse_probe(done.stdout) == probe(events)
    assert NO_SUCH_EVENT in parse_probe(done.stdout).refused


# Without the library


def test_without_events_papi_is_not_loaded():
    imports = "import sys\nfrom flexmpi.runtime.machine.counters import Counters\n"
    script = f"{imports}Counters().read()\nprint('pypapi' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (
            "raise ModuleNotFoundError('no', name='pypapi')",
            "python-papi is not installed: pip install python-papi",
        ),
        ("print('PAPI greets you')", "python-papi cannot be loaded: cannot import name 'exceptions' from 'pypapi'"),
        ("import no_such_library", "python-papi cannot be loaded: No module named 'no_such_library'"),
        (
            "from os import no_such_symbol",
            "python-papi cannot be loaded: cannot import name 'no_such_symbol' from 'os'",
        ),
    ],
)
def test_a_papi_that_cannot_be_loaded_is_said_in_one_line(tmp_path, content, why):
    (tmp_path / "pypapi.py").write_text(content)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        probe_command(["PAPI_TOT_INS"]), capture_output=True, text=True, timeout=60, check=True, env=environment
    )
    found = parse_probe(done.stdout)
    assert found.refused["PAPI_TOT_INS"].startswith(why)
    assert found.countable == ()
    assert done.stderr == ""


# The fake


def counted(counters: Counters) -> tuple[int | None, ...]:
    return counted_between(counters.read(), counters.read())


def test_each_event_has_its_own_count_in_the_order_asked_for(fake_papi):
    counters = Counters(["PAPI_TOT_CYC", "PAPI_TOT_INS"])
    assert (counters.refused, counted(counters)) == ({}, (2_500_000, 1_000_000))


def test_an_event_that_the_machine_has_not_is_missing_beside_one_that_it_has(fake_papi):
    counters = Counters(["PAPI_FP_OPS", "PAPI_TOT_INS"])
    assert counters.refused == {"PAPI_FP_OPS": "Event does not exist (PAPI_ENOEVNT)"}
    assert counted(counters) == (None, 1_000_000)


def test_events_that_cannot_be_counted_together_are_said_to_be_so(fake_papi):
    counters = Counters(["PAPI_DP_OPS", "PAPI_TOT_INS", "PAPI_TOT_CYC"])
    assert counters.refused == {
        "PAPI_TOT_CYC": "Event exists, but cannot be counted due to counter resource limitations (PAPI_ECNFLCT), "
        "beside PAPI_DP_OPS and PAPI_TOT_INS"
    }
    assert counted(counters) == (300_000, 1_000_000, None)


def test_other_events_can_be_counted_after_these(fake_papi):
    for events in (["PAPI_TOT_INS"], ["PAPI_DP_OPS", "PAPI_SP_OPS"], ["PAPI_TOT_INS"]):
        counters = Counters(events)
        assert None not in counted(counters)
        counters.close()
    assert counters.read() == (None,)


@pytest.mark.parametrize("function", ["start", "read"])
def test_an_event_that_can_be_added_but_not_counted_is_refused(fake_papi, monkeypatch, function):
    """PAPI lets events be added that the kernel then refuses to count."""
    working: Callable[[int], object] = getattr(fake_papi, function)

    def failing(handle: int) -> object:
        if "PAPI_TOT_CYC" in fake_papi._sets[handle].events:
            raise fake_papi.problems.PapiConflictError
        return working(handle)

    monkeypatch.setattr(fake_papi, function, failing)
    counters = Counters(["PAPI_TOT_INS", "PAPI_TOT_CYC"])
    assert counters.refused.keys() == {"PAPI_TOT_CYC"}
    assert counted(counters) == (1_000_000, None)


def test_when_papi_is_lost_on_the_way_the_counts_are_missing_and_not_0(fake_papi):
    counters = Counters(["PAPI_TOT_INS"])
    before = counters.read()
    fake_papi._sets.clear()
    after = counters.read()
    assert (after, counted_between(before, after)) == ((None,), (None,))
    assert counters.refused == {"PAPI_TOT_INS": "No such EventSet Available (PAPI_ENOEVST)"}
    counters.close()


def test_another_event_set_of_the_program_leaves_none_to_count_with_and_that_is_said(fake_papi):
    other = fake_papi.create_eventset()
    fake_papi.add_named_event(other, "PAPI_TOT_INS")
    fake_papi.start(other)
    counters = Counters(["PAPI_TOT_CYC"])
    assert counters.refused == {"PAPI_TOT_CYC": "EventSet is currently counting (PAPI_EISRUN)"}
    assert counters.read() == (None,)


def test_a_probe_names_what_the_machine_counts_where_something_is_refused(fake_papi):
    assert probe(["PAPI_TOT_INS", "PAPI_TOT_CYC"]).countable == ()
    found = probe(["PAPI_TOT_INS", "PAPI_FP_OPS"])
    assert found.refused == {"PAPI_FP_OPS": "Event does not exist (PAPI_ENOEVNT)"}
    assert sorted(found.countable) == ["PAPI_DP_OPS", "PAPI_SP_OPS", "PAPI_TOT_CYC", "PAPI_TOT_INS"]


def test_a_probe_is_one_line_of_json(tmp_path: Path):
    environment = {**os.environ, "PYTHONPATH": str(FAKE_PAPI)}
    done = subprocess.run(
        probe_command(["PAPI_TOT_INS"]), capture_output=True, text=True, timeout=60, check=True, env=environment
    )
    assert json.loads(done.stdout) == {"refused": {}, "countable": []}
