"""The ranks' output: cut into lines without losing a byte; hydra's notice of a killed process is read and taken out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.runtime.launcher.output import LONGEST_LINE, LineReader, PrrteNotice, TerminationNotice

properties = settings(derandomize=True, deadline=None, max_examples=100)
RULE = b"=" * 83 + b"\n"
NOTICE = [
    b"\n",
    RULE,
    b"=   BAD TERMINATION OF ONE OF YOUR APPLICATION PROCESSES\n",
    b"=   PID 17874 RUNNING AT vm\n",
    b"=   EXIT CODE: 9\n",
    b"=   CLEANING UP REMAINING PROCESSES\n",
    b"=   YOU CAN IGNORE THE BELOW CLEANUP MESSAGES\n",
    RULE,
    b"YOUR APPLICATION TERMINATED WITH THE EXIT STRING: Killed (signal 9)\n",
    b"This typically refers to a problem with your application.\n",
    b"Please see the FAQ page for debugging suggestions\n",
]
OF_INTEL = [
    line
    for rank, (pid, how) in enumerate({41: b"9 (Killed)", 42: b"11 (Segmentation fault)"}.items())
    for line in (
        b"\n",
        RULE,
        b"=   BAD TERMINATION OF ONE OF YOUR APPLICATION PROCESSES\n",
        b"=   RANK %d PID %d RUNNING AT vm\n" % (rank, pid),
        b"=   KILLED BY SIGNAL: %b\n" % how,
        RULE,
    )
]
DASHES = b"-" * 74 + b"\n"
OF_PRRTE = [
    DASHES,
    b"prterun noticed that process rank 1 with PID 22620 on node vm exited on\n",
    b"signal 9 (Killed).\n",
    DASHES,
]
OTHERS_OF_PRRTE = [
    DASHES,
    b"MPI_ABORT was invoked on rank 1 in communicator MPI_COMM_WORLD\n",
    b"  Errorcode: 7\n",
    DASHES,
]
LOOK_ALIKES = [line for line in NOTICE if b"BAD TERMINATION" not in line] + [b"=" * 82 + b"\n", b"BAD TERMINATION\n"]


def filtered(notice: TerminationNotice | PrrteNotice, lines: list[bytes]) -> list[bytes]:
    return [kept for line in lines for kept in notice.filter(line)] + notice.close()


@properties
@given(st.lists(st.binary(max_size=30) | st.sampled_from([b"\n", b"a\nb", b"\xff\n"])))
def test_lines_come_whole_and_nothing_is_lost(pieces: list[bytes]) -> None:
    reader = LineReader()
    lines = [line for piece in pieces for line in reader.feed(piece)]
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in lines)
    rest = reader.close()
    assert b"".join([*lines, *rest]) == b"".join(pieces)
    assert len(rest) <= 1 and b"\n" not in b"".join(rest)
    assert reader.close() == []


def test_a_line_without_an_end_is_kept_until_it_is_too_long() -> None:
    reader = LineReader()
    assert reader.feed(b"x" * LONGEST_LINE) == []
    assert reader.feed(b"y") == [b"x" * LONGEST_LINE + b"y"]
    assert reader.feed(b"z\n") == [b"z\n"]


def test_the_notice_is_taken_out_and_read() -> None:
    notice = TerminationNotice()
    assert filtered(notice, [b"before\n", *NOTICE, b"after\n"]) == [b"before\n", b"after\n"]


@properties
@given(st.lists(st.sampled_from(LOOK_ALIKES) | st.binary(max_size=5).map(lambda text: text + b"\n"), max_size=12))
def test_lines_that_look_like_parts_of_a_notice_are_passed_on_in_their_order(lines: list[bytes]) -> None:
    notice = TerminationNotice()
    assert filtered(notice, lines) == lines


@properties
@given(st.lists(st.sampled_from(LOOK_ALIKES), max_size=4), st.lists(st.sampled_from(LOOK_ALIKES[3:7]), max_size=4))
def test_a_notice_is_found_among_lines_that_look_like_it(before: list[bytes], after: list[bytes]) -> None:
    notice = TerminationNotice()
    assert filtered(notice, [*before, *NOTICE, b"-\n", *after]) == [*before, b"-\n", *after]


def test_intels_hydra_has_a_notice_for_each_process_also_for_those_that_it_killed_itself() -> None:
    notice = TerminationNotice()
    assert filtered(notice, [b"before\n", *OF_INTEL, b"after\n"]) == [b"before\n", b"after\n"]


def test_the_notice_of_open_mpi_is_taken_out_and_read_and_what_a_program_prints_between_such_rules_is_not() -> None:
    notice = PrrteNotice()
    lines = [b"before\n", DASHES, *OF_PRRTE, b"after\n", *OTHERS_OF_PRRTE]
    assert filtered(notice, lines) == [b"before\n", DASHES, b"after\n", *OTHERS_OF_PRRTE]


@properties
@given(st.lists(st.sampled_from([*OTHERS_OF_PRRTE, b"-\n", b"\n"]), max_size=12))
def test_lines_between_rules_that_are_no_notice_of_open_mpi_are_passed_on_in_their_order(lines: list[bytes]) -> None:
    notice = PrrteNotice()
    assert filtered(notice, lines) == lines


def test_hydra_still_writes_the_notice_in_the_form_that_is_known() -> None:
    mpiexec = Path(sys.executable).with_name("mpiexec")
    if not mpiexec.exists():
        pytest.skip("no mpiexec beside this Python: pip install mpich")
    script = "import os, signal; print('mine', flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    command = [mpiexec, "-launcher", "fork", "-rmk", "user", "-n", "1", sys.executable, "-c", script]
    printed = subprocess.run(command, stdout=subprocess.PIPE, timeout=60, check=False).stdout
    assert b"BAD TERMINATION" in printed
    assert filtered(TerminationNotice(), printed.splitlines(keepends=True)) == [b"mine\n"]
