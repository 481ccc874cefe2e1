"""What was weak in the original FlexMPI and is held by no other test; docs/manual.md has the whole list, W1 to W19."""

from __future__ import annotations

import ast
import os
import re
import socket
from pathlib import Path

import pytest

from tests.applications import COREFILES, PROGRAMS, REPOSITORY, Application, wait_until

TWO_NODES = f"--corefile={COREFILES / 'demo.core'}"
COUNTING = (PROGRAMS / "counting.py", "--pause=0.001")
QUICK = (TWO_NODES, "--interval=0.05s")


# W5: who may command


def test_commands_are_taken_at_the_loopback_only_unless_another_address_is_asked_for(start, tmp_path):
    application = start(*QUICK, "-n1", *COUNTING)
    assert application.address().host == "127.0.0.1"
    wide = start(*QUICK, "-n1", "--listen=0.0.0.0:0", *COUNTING, environment={"HOME": str(tmp_path)})
    assert wide.wait_for("listening")["host"] == "0.0.0.0"
    wide.wait_for("loop")
    assert wide.send("5:").startswith("ok: ")
    assert wide.finish()[2] == ""


def test_with_a_token_only_commands_that_begin_with_it_are_taken(start, tmp_path):
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text("s3cret\n")
    application = start(*QUICK, "-n1", f"--token-file={token}", *COUNTING)
    application.wait_for("loop")
    refusal = "error: this application asks for a token before the command (TOKEN@COMMAND)"
    for command in ("5:", "wrong@5:", "s3cre@5:", "6:lhost:1"):
        assert application.send(command) == refusal
    assert application.send("s3cret@12:hello").startswith("ok: ")
    assert application.change("s3cret@6:lhost:1")["ranks_after"] == 2


def test_a_command_that_is_not_one_harms_nobody_however_long_or_strange_it_is(start):
    application = start(*QUICK, "-n1", *COUNTING)
    application.wait_for("loop")
    strange = [b"", b"\0" * 10, b"\xff\xfe", b"6" * 5000, b"6" + b":a:1" * 400, b":" * 500, b"8:" + b"0:" * 901]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.settimeout(10.0)
        for content in strange:
            end.sendto(content, application.address())
            assert end.recv(65536).startswith(b"error: ")
    assert application.send("12:still here") == "ok: printed"


# W13: nothing is left behind by a change


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


@pytest.mark.both_changes
def test_growing_and_shrinking_again_and_again_leaves_no_open_file_in_ranks_and_supervisor(start):
    application = start(*QUICK, "-n1", *COUNTING)
    application.wait_for("loop")

    def cycle() -> None:
        assert application.change("6:node2:1")["ranks_after"] == 2
        assert application.change("6:node2:-1")["ranks_after"] == 1
        application.wait_for("sample")
        wait_until(lambda: len(application.rank_pids()) == 1, what="all but one rank have gone")

    def open_files() -> tuple[int, int]:
        (rank,) = application.rank_pids()
        return descriptors(rank), descriptors(application.process.pid)

    for _ in range(2):
        cycle()
    founders, supervisors = open_files()
    for _ in range(4):
        cycle()

    def as_before() -> bool:
        in_founder, in_supervisor = open_files()
        return in_founder <= founders and in_supervisor <= supervisors

    # The last set's pipes are closed when its mpiexec has ended, which may be after the sample.
    wait_until(as_before, what=f"no more than {founders} and {supervisors} files are open, as after two cycles")


@pytest.mark.both_changes
def test_several_ranks_leave_in_one_change_and_one_agreement(start):
    application = start(*QUICK, "-n4", *COUNTING)
    application.wait_for("loop")
    left = application.change("6:lhost:-3")
    assert (left["id"], left["ranks_before"], left["ranks_after"]) == (1, 4, 1)


# W15: no fixed place, no fixed port, no shell


@pytest.mark.both_changes
def test_two_applications_run_beside_each_other_without_a_home_or_a_fixed_port(start, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    environment = {"HOME": "/nonexistent"}
    both: list[Application] = [start(*QUICK, "-n1", *COUNTING, environment=environment) for _ in range(2)]
    for application in both:
        application.wait_for("loop")
    assert both[0].address().port != both[1].address().port
    for application in both:
        assert application.change("6:node2:1")["outcome"] == "done"
    assert both[0].send("5:").startswith("ok: ")
    assert both[0].finish()[::2] == (143, "")
    assert both[1].change("6:lhost:-1")["outcome"] == "done", "the other's end is none of its business"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("source", sorted((REPOSITORY / "flexmpi").rglob("*.py")), ids=lambda path: path.name)
def test_no_command_goes_through_a_shell(source: Path):
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Call):
            assert not [keyword for keyword in node.keywords if keyword.arg == "shell"]
            name = ast.unparse(node.func)
            assert name not in ("os.system", "os.popen", "asyncio.create_subprocess_shell"), name


# W19: what an iteration costs

EMPTY_LOOP = """
import time, flexmpi

with flexmpi.session() as flex:
    best_s, start = 1.0, None
    for iteration in flex.iterate(30_000):
        if iteration % 1000 == 0:
            now = time.perf_counter()
            best_s, start = min(best_s, (now - start) / 1000 if start else 1.0), now
    if flex.rank == 0:
        print(f"an iteration costs {best_s * 1e6:.3f} us")
"""


def test_with_an_interval_of_100_the_runtime_costs_an_iteration_less_than_the_originals_20_us(start, tmp_path):
    script = tmp_path / "empty.py"
    script.write_text(EMPTY_LOOP)
    application = start(TWO_NODES, "--interval=100", "-n2", script)
    status, output, _ = application.finish()
    assert status == 0
    found = re.search(r"an iteration costs ([\d.]+) us", output)
    assert found is not None
    assert float(found[1]) < 20
