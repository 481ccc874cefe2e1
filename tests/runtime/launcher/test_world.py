"""A process set is run by ``mpiexec``, and can be killed from the moment in which it was ordered."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from flexmpi.runtime.launcher.ranks_here import RanksHere
from flexmpi.runtime.launcher.world import RunningSet
from flexmpi.runtime.machine import processes

LIMIT_S = 30.0


async def drop(rank: int, stream: str, data: bytes) -> None:
    """Do nothing with what a rank prints."""


def test_a_process_set_that_is_killed_before_mpiexec_runs_does_not_start(tmp_path: Path) -> None:
    folder = tmp_path / "pset-1"
    (tmp_path / "sitecustomize.py").write_text(
        f"open({str(tmp_path / 'started')!r}, 'w')\nimport time\ntime.sleep(1000)\n"
    )
    order = {
        "ranks": 2,
        "here": [0, 1],
        "command": [],
        "environment": {"PYTHONPATH": str(tmp_path)},
        "sockets": {},
        "directory": str(tmp_path),
    }

    async def scenario() -> None:
        started = []
        ranks = RanksHere([0, 1], folder, str(folder), send_output=drop, on_ended=pytest.fail, on_failure=pytest.fail)
        running = RunningSet(ranks, folder, on_start=started.append, on_lost=pytest.fail)
        async with asyncio.timeout(LIMIT_S):
            ending = asyncio.create_task(running.run(order))
            running.kill()
            assert (await ending).status == -signal.SIGKILL
        assert started == []

    asyncio.run(scenario())
    assert not processes.having(f"FLEXMPI_OUTPUT={folder}")
    assert not folder.exists() and not (tmp_path / "started").exists()
