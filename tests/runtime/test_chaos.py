"""Any process of a job is killed while ranks come and go: the job goes on or ends with one error, and nothing is left of it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from flexmpi.errors import FlexMPIError
from tests.applications import COREFILES, PROGRAMS, Application, command_line, soak_seed

Start = Callable[..., Application]

OPTIONS = (f"--corefile={COREFILES / 'demo.core'}", "--interval=0.02s", "--stall-timeout=10", "-q", "-n2")
COMMANDS = (
    "6:lhost:1",
    "6:node2:1",
    "6:node2:2",
    "6:lhost:1:node2:1",
    "6:lhost:-1",
    "6:node2:-1",
    "6:lhost:1:node2:-1",
    "2:",
)
LONGEST_DELAY_S = 1.0
ERROR = "flexmpi: error: "


def survive_a_kill(start: Start, folder: Path, *, seed: int) -> str:
    """Kill a random process of a job at a random moment, and return which, and how the job ended.

    Every other job has warm parents, which are among its processes.
    """
    rng = np.random.default_rng(seed)
    until = folder / f"until-{seed}"
    options = (*OPTIONS, "--warm") if seed % 2 else OPTIONS
    application = start(*options, PROGRAMS / "newcomers.py", f"--until={until}")
    application.wait_for("loop")
    orders = threading.Thread(target=keep_ordering, args=(application, rng.choice(COMMANDS, size=6)))
    orders.start()
    # Nothing is waited for here: the moment is what is random.
    threading.Event().wait(rng.uniform(0, LONGEST_DELAY_S))
    victim = int(rng.choice(application.processes()))
    name = command_line(victim).split(b"\0")[:4]
    try:
        os.kill(victim, signal.SIGKILL)
    except ProcessLookupError:
        name = [b"nobody"]
    orders.join()
    until.touch()
    status, output, errors = application.finish()
    told = [line for line in errors.splitlines() if line.startswith(ERROR)]
    what = f"seed {seed}, {b' '.join(name).decode()}: status {status}, {told}"
    if victim == application.process.pid:
        assert status == -signal.SIGKILL, what
    elif status == 0:
        assert not told and "right on" in output, what
    else:
        assert len(told) == 1, what
    application.wait_until_gone()
    return what


def keep_ordering(application: Application, commands: list[str]) -> None:
    """Send commands one after the other, as long as somebody answers."""
    for command in commands:
        try:
            application.send(command)
        except FlexMPIError:
            return


@pytest.mark.both_changes
def test_a_job_survives_or_ends_clearly_whatever_of_it_is_killed(start: Start, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda seed: survive_a_kill(start, tmp_path, seed=seed), range(1, 5)))


@pytest.mark.both_changes
@pytest.mark.soak
def test_a_hundred_jobs_survive_or_end_clearly_whatever_of_them_is_killed(start: Start, tmp_path: Path) -> None:
    seed = soak_seed()
    for number in range(100):
        print(survive_a_kill(start, tmp_path, seed=seed + number), flush=True)
