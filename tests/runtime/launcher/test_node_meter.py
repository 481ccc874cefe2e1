"""What a node launcher measures on its node, with a fake PAPI and with libraries that misbehave."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from flexmpi.runtime.launcher import node_meter
from flexmpi.runtime.launcher.node_meter import NodeMeter
from flexmpi.runtime.machine.energy import machine_identity
from tests.powercap import Powercap
from tests.runtime.conftest import FAKE_PAPI

NONE_HERE = "Event does not exist (PAPI_ENOEVNT)"


def probed(events: list[str], monkeypatch: pytest.MonkeyPatch, path: Path) -> dict[str, Any]:
    """Probe with what is called pypapi in a folder."""
    monkeypatch.setenv("PYTHONPATH", str(path))
    meter = NodeMeter(path)
    found = asyncio.run(meter.probe(events))
    assert meter.children == set()
    return found


def test_a_node_finds_out_in_another_process_what_it_counts(monkeypatch):
    found = probed(["PAPI_TOT_INS", "PAPI_FP_OPS"], monkeypatch, FAKE_PAPI)
    assert found["refused"] == {"PAPI_FP_OPS": NONE_HERE}
    assert "PAPI_TOT_INS" in found["countable"]


@pytest.mark.parametrize(
    ("library", "why"),
    [
        ("import os; os.abort()", "it ended with status -6"),
        ("raise RuntimeError('the PMU is on fire')", "RuntimeError: the PMU is on fire"),
        ("import os; print('rubbish', flush=True); os._exit(0)", "it answered b'rubbish\\n'"),
        ("import threading; threading.Event().wait()", "no answer within 0.5 s"),
    ],
    ids=["it crashes", "it fails", "it prints", "it hangs"],
)
def test_a_papi_that_misbehaves_harms_nobody(monkeypatch, tmp_path, library, why):
    (tmp_path / "pypapi.py").write_text(library)
    monkeypatch.setattr(node_meter, "PROBE_LIMIT_S", 0.5 if "no answer" in why else 30.0)
    found = probed(["A_B", "C_D"], monkeypatch, tmp_path)
    assert found["refused"] == dict.fromkeys(["A_B", "C_D"], f"PAPI could not be asked: {why}")


def test_a_node_says_which_machine_it_is_and_which_meters_it_can_read(tmp_path):
    tree = Powercap(tmp_path / "powercap")
    tree.add("intel-rapl:0", "package-0", range_uj=1000)
    meter = NodeMeter(tree.root)
    meters = {"sources": ["rapl:package-0"], "missing": {}}
    assert meter.introduction() == {"machine": machine_identity(), "energy": meters}
    tree.use("intel-rapl:0", 0.0007)
    meter.update()
    tree.use("intel-rapl:0", 0.0007)
    assert meter.spent()["joules"] == {"rapl:package-0": 0.0014}
