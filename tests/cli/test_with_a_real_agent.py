"""Everything at once: a real agent with its own nodes, a real elastic job, and the commands people give."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.applications import PROGRAMS, wait_until
from tests.cli.conftest import Flexmpi

LIMIT_S = 60.0
SETTINGS = """
[agent]
folder = "agent"
journal = "journal.sqlite"
listen = "tcp://127.0.0.1:0"
advertise = "127.0.0.1"
mode = "on"
tick_s = 0.1
authority = "local"
[manager]
kind = "local"
corefile = "nodes.core"
[hysteresis]
cool_down_s = 0
settle_s = 0
"""
ELASTIC = f"""#!/bin/sh
exec {sys.executable} -m flexmpi.cli run --nodes 1-3 --processes-per-node 1 --interval=0.1s \\
    {PROGRAMS / "counting.py"} --pause=0.002
"""
COST = re.compile(r"(join \d[\d.]* m?s, )?move \d[\d.]* m?s, stall \d[\d.]* m?s, \d.* (bytes?|[kM]B)")


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in which an agent runs that has four nodes of two cores; its jobs end with it."""
    (tmp_path / "agent.toml").write_text(SETTINGS)
    (tmp_path / "nodes.core").write_text("".join(f"node{number}:2:node\n" for number in range(1, 5)))
    (tmp_path / "solve.sh").write_text(ELASTIC)
    (tmp_path / "rigid.sh").write_text("#!/bin/sh\nexec sleep 600\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLEXMPI_AGENT", str(tmp_path / "agent"))
    with (tmp_path / "log").open("wb") as log:
        command = [sys.executable, "-m", "flexmpi.cli", "agent", "--config=agent.toml"]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        card = tmp_path / "agent" / "agent.json"
        wait_until(lambda: card.exists() or process.poll() is not None, what="the agent listens", limit_s=LIMIT_S)
        assert process.poll() is None, (tmp_path / "log").read_text()
        yield tmp_path
    finally:
        process.terminate()
        process.wait(LIMIT_S)


def shown(flexmpi: Flexmpi, *arguments: str) -> str:
    """What a command prints that is done."""
    ended = flexmpi(*arguments)
    assert (ended.status, ended.errors) == (0, ""), ended
    return ended.output


def test_people_submit_a_job_grow_and_shrink_it_and_end_it(flexmpi: Flexmpi, cluster: Path) -> None:
    nodes_of = ("jobs", "--noheader", "--format=job,size,nodes")
    assert shown(flexmpi, "nodes", "--noheader") == "node[1-4]  4  2  idle  -  -\n"
    assert shown(flexmpi, "submit", "-J", "counting", "solve.sh") == "Submitted job 1\n"
    wait_until(lambda: "1 (1-3)" in shown(flexmpi, *nodes_of), what="the job has registered", limit_s=LIMIT_S)
    assert shown(flexmpi, *nodes_of) == "1  1 (1-3)  node1\n"

    assert shown(flexmpi, "expand", "1", "2", "--dry-run") == "would be done: job 1: add 2 nodes (node[2-3])\n"
    accepted, done = shown(flexmpi, "expand", "1", "node[3-4]", "--wait").splitlines()
    assert accepted == "accepted: job 1: add 2 nodes (node[3-4])"
    found = re.fullmatch(r"done: job 1: add 2 nodes \(node\[3-4\]\) \((.*)\)", done)
    assert found is not None, done
    assert COST.fullmatch(found[1]), found[1]
    assert shown(flexmpi, *nodes_of) == "1  3 (1-3)  node[1,3-4]\n"
    assert shown(flexmpi, "submit", "-N", "2", "rigid.sh") == "Submitted job 2\n"
    wait_until(lambda: "Resources" in shown(flexmpi, "jobs"), what="the other job waits", limit_s=LIMIT_S)

    refused = flexmpi("expand", "1")
    assert (refused.status, refused.output) == (1, "")
    assert refused.errors.startswith("flexmpi: error: ")
    row = shown(flexmpi, "shrink", "1", "node3", "--wait", "--noheader", "-o", "job,outcome,nodes")
    assert row == "1  done  node[1,4]\n"
    wait_until(lambda: "2  2        node[2-3]" in shown(flexmpi, *nodes_of), what="the other starts", limit_s=LIMIT_S)

    entries = json.loads(shown(flexmpi, "history", "1", "--json"))
    assert [(entry["what"], entry["outcome"]) for entry in entries] == [
        ("job 1: add 2 nodes (node[3-4])", "done"),
        ("job 1: leave 1 node (node3)", "done"),
    ]
    assert all(entry["cost"]["stall_s"] > 0 for entry in entries)
    assert shown(flexmpi, "policy", "fill", "--wait").splitlines()[-1] == "done: policy fill"
    assert (shown(flexmpi, "policy"), shown(flexmpi, "mode")) == ("fill\n", "on\n")
    assert shown(flexmpi, "stop", "1", "--wait").splitlines()[-1].startswith("done: job 1: stop")
    wait_until(lambda: shown(flexmpi, *nodes_of) == "2  2  node[2-3]\n", what="the job is over", limit_s=LIMIT_S)
