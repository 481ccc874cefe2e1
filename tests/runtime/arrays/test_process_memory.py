"""Another process's memory is read when it is certain whose it is; ``programs/read_memory.py`` plays both processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "programs" / "read_memory.py"
CHECKOUT = Path(__file__).parents[3]
DENIED = "this kernel does not let an ordinary process read its child's memory (ptrace scope, seccomp)"


def said_of(case: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    command = [sys.executable, str(PROGRAM), case]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.strip()


@pytest.fixture(scope="module")
def kernel_lets() -> None:
    if "copied False" in said_of("itself"):
        pytest.skip(DENIED)


@pytest.mark.usefixtures("kernel_lets")
def test_a_process_that_lets_others_read_is_read() -> None:
    assert said_of("itself") == "readable True, copied True, right True"


@pytest.mark.usefixtures("kernel_lets")
@pytest.mark.parametrize("case", ["other_nonce", "other_start", "other_namespace"])
def test_a_process_that_only_has_the_id_is_not_taken_for_the_one_that_was_meant_though_it_could_be_read(
    case: str,
) -> None:
    assert said_of(case) == "readable False, copied True, right True"


def test_a_process_that_has_ended_is_not_read() -> None:
    assert said_of("no_process") == "readable False, copied False, right False"


def test_a_process_whose_memory_the_kernel_keeps_private_is_not_read() -> None:
    assert said_of("kept_private") == "readable False, copied False, right False"
